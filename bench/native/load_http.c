/* The HTTP load generator: an MCP client that costs far less than any bridge.
 *
 * One keep-alive connection for each call in flight, one epoll loop. Opens its session(s) as a real
 * client does (initialize, session id, notifications/initialized), takes answers as JSON, as SSE, or
 * (--transport sse, the revision of 2024-11-05) from the session's own stream, and prints one line
 * of JSON. Modes: calls | notify | open (sessions only) | first (start-up; waits for the listener). */
#include "load.h"
#include "http.h"

struct session { char id[256], path[512], protocol[32]; struct conn *stream; int64_t next_notification, handshake_id; };

struct conn {
    int fd, writing, is_stream, fresh;
    struct http http;
    struct bytes out;
    struct session *session;
    int64_t id, started;         /* the call in flight; 0: none */
    int answered, responded;     /* its answer came; the HTTP response to its POST ended */
};

static int epoll_fd, stopping, is_emitting, busy, may_refuse, was_refused;
static int64_t next_id = 1, due_step, due_next, handshake_answers;
static struct conn *conns;
static struct session *sessions;

/* ---- connections ------------------------------------------------------------------------------ */

static void open_conn(struct conn *c) {
    if ((c->fd = connect_loopback(options.port)) < 0) fail("connection refused on port %d", options.port);
    c->fresh = 1;
    c->writing = 0;
    watch(epoll_fd, EPOLL_CTL_ADD, c->fd, EPOLLIN, c);
}

static void close_conn(struct conn *c) {
    close(c->fd);
    c->fd = -1;
    http_next(&c->http);
    c->http.in.length = c->http.in.used = 0;
}

static void flush_conn(struct conn *c) {
    int done = flush_some(c->fd, &c->out);
    if (done < 0) fail("the connection was closed while a request was written");
    if (c->writing == !done) return;
    c->writing = !done;
    watch(epoll_fd, EPOLL_CTL_MOD, c->fd, c->writing ? EPOLLIN | EPOLLOUT : EPOLLIN, c);
}

static void append_head(struct conn *c, const char *method, size_t length) {
    struct session *s = c->session;
    append_format(&c->out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: %s\r\n", method,
                  s->path[0] ? s->path : options.path, options.port,
                  *method == 'G' ? "text/event-stream" : "application/json, text/event-stream");
    if (options.bearer[0]) append_format(&c->out, "Authorization: Bearer %s\r\n", options.bearer);
    if (s->id[0]) append_format(&c->out, "Mcp-Session-Id: %s\r\n", s->id);
    if (s->protocol[0]) append_format(&c->out, "MCP-Protocol-Version: %s\r\n", s->protocol);
    if (*method == 'P') append_format(&c->out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", length);
    append(&c->out, "\r\n", 2);
}

static void post(struct conn *c, const struct bytes *frame) {
    if (c->fd < 0) {
        open_conn(c);
        reconnects++;
    }
    append_head(c, "POST", frame->length);
    append(&c->out, frame->at, frame->length);
    c->responded = 0;
    flush_conn(c);
}

/* ---- calls ------------------------------------------------------------------------------------ */

static void send_call(struct conn *c, int64_t due) {
    static struct bytes frame;
    frame.length = frame.used = 0;
    /* The id names its connection, so an answer from a shared stream finds it. */
    c->id = next_id++ * options.in_flight + (c - conns);
    c->answered = 0;
    c->started = due ? due : now_ns();
    busy++;
    if (is_emitting) append_emit_call(&frame, c->id);
    else append_call(&frame, c->id);
    post(c, &frame);
}

/* At a fixed rate a call that is late waits for a free connection, and its wait counts. */
static void send_due(struct conn *c) {
    if (due_next > now_ns() || stopping) return;
    send_call(c, due_next);
    due_next += due_step;
}

static void call_finished(struct conn *c) {
    c->id = 0;
    busy--;
    if (stopping || is_emitting) return;
    if (options.limit && answered_total >= options.limit) stopping = 1;
    else if (due_step) send_due(c);
    else send_call(c, 0);
}

static void frame_received(struct conn *from, struct span frame) {
    int64_t id = json_integer(json_get(frame, "id"), 0);
    if (json_get(frame, "method").length || !id) {
        if (!id && json_get(frame, "error").length) fail("an error without id: %.*s", (int)(frame.length < 200 ? frame.length : 200), frame.at);
        count_notification(frame, &from->session->next_notification);
        return;
    }
    if (id == from->session->handshake_id) {
        struct span version = json_string(json_get(json_get(frame, "result"), "protocolVersion"));
        if (!version.length) fail("initialize was refused: %.*s", (int)(frame.length < 200 ? frame.length : 200), frame.at);
        snprintf(from->session->protocol, sizeof from->session->protocol, "%.*s", (int)version.length, version.at);
        from->session->handshake_id = 0;
        handshake_answers++;
        return;
    }
    struct conn *c = &conns[id % options.in_flight];
    if (id < 0 || c->id != id || c->answered) fail("an answer with id %lld, which nobody waits for", (long long)id);
    if (c->session != from->session) fail("the answer to call %lld went to another session", (long long)id);
    check_answer(frame, id, is_emitting);
    c->answered = 1;
    if (!is_emitting) record_answer(c->started);
    if (c->responded) call_finished(c);
}

static void response_ended(struct conn *c) {
    struct http *h = &c->http;
    int status = h->status;
    struct span body = {h->body.at, h->body.length};
    if (may_refuse && (status == 404 || status == 502 || status == 503)) was_refused = 1;
    else if (status < 200 || status > 299)
        fail("HTTP status %d: %.*s", status, (int)(body.length < 200 ? body.length : 200), body.at ? body.at : "");
    if (h->session[0]) snprintf(c->session->id, sizeof c->session->id, "%s", h->session);
    if (!h->is_sse && body.length && !was_refused && *json_skip_space(body.at, body.at + body.length) == '{') frame_received(c, body);
    int closes = h->closes;
    http_next(h);
    if (closes) close_conn(c);
    if (c->is_stream) fail("the event stream ended");
    c->responded = 1;
    if (!c->id) return;
    if (c->answered) call_finished(c);
    else if (!options.is_sse_transport) fail("the response to call %lld ended without its answer", (long long)c->id);
}

static void take_events(struct conn *c) {
    struct span data;
    if (c->http.session[0]) snprintf(c->session->id, sizeof c->session->id, "%s", c->http.session);
    while ((data = sse_next(&c->http)).at) {
        if (!strcmp(c->http.event_name, "endpoint")) {
            const char *path = memmem(data.at, data.length, "://", 3);     /* absolute or not */
            path = path ? memchr(path + 3, '/', (size_t)(data.at + data.length - path - 3)) : data.at;
            if (path) snprintf(c->session->path, sizeof c->session->path, "%.*s", (int)(data.at + data.length - path), path);
        } else {
            frame_received(c, data);
        }
    }
}

static void conn_readable(struct conn *c) {
    ssize_t got = read_some(c->fd, &c->http.in);
    if (got < 0) return;
    if (got == 0) {
        if (http_ended_by_close(&c->http)) {
            if (c->http.is_sse) take_events(c);
            response_ended(c);
        } else if (c->id && !c->responded) {
            fail("the connection was closed before the answer to call %lld", (long long)c->id);
        } else if (c->is_stream) {
            fail("the event stream was closed");
        } else {
            close_conn(c);
        }
        return;
    }
    while (c->fd >= 0 && (pending(&c->http.in))) {
        int complete = http_read(&c->http);
        if (c->http.head_done && c->http.is_sse) take_events(c);
        if (!complete) return;
        response_ended(c);
    }
}

/* One turn of the loop, at most until `until`. */
static void turn(int64_t until) {
    struct epoll_event events[256];
    int64_t now = now_ns(), left = until - now;
    if (now > deadline_ns) fail("timed out: %d of %d calls unanswered, %lld answered before", busy, options.in_flight, (long long)answered_total);
    int wait = left <= 0 ? 0 : (int)(left / 1000000);
    if (due_step && wait == 0 && left > 0) wait = 0;         /* below a millisecond: spin, to be on time */
    else if (!due_step && left > 0) wait++;
    int ready = epoll_wait(epoll_fd, events, 256, wait);
    for (int i = 0; i < ready; i++) {
        struct conn *c = events[i].data.ptr;
        if (c->fd >= 0 && events[i].events & EPOLLOUT) flush_conn(c);
        if (c->fd >= 0 && events[i].events & ~EPOLLOUT) conn_readable(c);
    }
}

static void run_until_ns(int64_t until) {
    while (now_ns() < until && !stopping) {
        turn(due_step && due_next < until ? due_next : until);
        if (!due_step) continue;
        for (int i = 0; i < options.in_flight && due_next <= now_ns(); i++)
            if (!conns[i].id) send_due(&conns[i]);
    }
}

/* ---- sessions --------------------------------------------------------------------------------- */

static void await_response(struct conn *c) {
    while (!c->responded) turn(deadline_ns);
}

static void open_stream(struct session *s) {
    struct conn *c = s->stream = calloc(1, sizeof *c);
    c->session = s;
    c->is_stream = 1;
    open_conn(c);
    append_head(c, "GET", 0);
    flush_conn(c);
    while (!c->http.head_done) turn(deadline_ns);
    if (c->http.status != 200) fail("GET for the event stream: HTTP status %d", c->http.status);
}

/* What every client does first; over `c`, which may serve many sessions one after another. */
static void open_session(struct conn *c, struct session *s) {
    static struct bytes frame;
    static int64_t handshakes;
    c->session = s;
    if (options.is_sse_transport) {
        open_stream(s);
        while (!s->path[0]) turn(deadline_ns);
    }
    int64_t before = handshake_answers;
    frame.length = frame.used = 0;
    s->handshake_id = ++handshakes;
    append_initialize(&frame, s->handshake_id);
    do {     /* some listen before they are ready; the first answer is when they are */
        was_refused = 0;
        post(c, &frame);
        await_response(c);
        if (was_refused) usleep(1000);
    } while (was_refused);
    may_refuse = 0;
    while (handshake_answers == before && options.is_sse_transport) turn(deadline_ns);
    if (handshake_answers == before) fail("initialize: the response ended without an answer");
    frame.length = 0;
    append(&frame, INITIALIZED, strlen(INITIALIZED));
    post(c, &frame);
    await_response(c);
    if (options.streams && !options.is_sse_transport) open_stream(s);
}

static void open_all(void) {
    int all = options.sessions + options.idle_sessions;
    sessions = calloc((size_t)all, sizeof *sessions);
    conns = calloc((size_t)options.in_flight, sizeof *conns);
    for (int i = 0; i < options.in_flight; i++) open_conn(&conns[i]);
    for (int i = all - 1; i >= 0; i--) open_session(&conns[i % options.in_flight], &sessions[i]);
    for (int i = 0; i < options.in_flight; i++) conns[i].session = &sessions[i % options.sessions];
}

/* ---- modes ------------------------------------------------------------------------------------ */

static void drain(void) {
    stopping = 1;
    lengthen_empty_window();
    deadline_ns = now_ns() + (int64_t)(options.drain * 1e9);
    while (busy) turn(deadline_ns);
}

static void run_calls(void) {
    int64_t start = now_ns();
    deadline_ns = start + (int64_t)((options.warm_up + options.seconds + options.drain) * 1e9);
    window_from = start + (int64_t)(options.warm_up * 1e9);
    window_to = window_from + (int64_t)(options.seconds * 1e9);
    if (options.rate > 0) due_next = start, due_step = (int64_t)(1e9 / options.rate);
    else for (int i = 0; i < options.in_flight; i++) send_call(&conns[i], 0);
    run_until_ns(window_to);
    drain();
    if (!recorded) fail("no call was answered within %.1f s", options.seconds + options.drain);
}

/* Every session has its stream; each far end is told to emit, and all must arrive, in order. */
static void run_notify(void) {
    int64_t all = options.count * options.sessions;
    is_emitting = 1;
    deadline_ns = now_ns() + (int64_t)((options.seconds + options.drain) * 1e9);
    for (int i = 0; i < options.in_flight; i++) send_call(&conns[i], 0);
    while (notifications < all) {
        turn(now_ns() + 100000000);
        int64_t quiet = now_ns() - (notification_last ? notification_last : deadline_ns);
        if (now_ns() > deadline_ns - 200000000 || quiet > 3000000000) break;
    }
    if (!notifications) fail("no notification arrived (of %lld)", (long long)all);
    if (notifications < all && now_ns() - notification_last > 1000000000)
        fail("only %lld of %lld notifications arrived", (long long)notifications, (long long)all);
}

static void wait_for_listener(void) {
    int fd;
    while ((fd = connect_loopback(options.port)) < 0) {
        if (now_ns() > deadline_ns) fail("nothing listened on port %d in time", options.port);
        usleep(500);
    }
    close(fd);
}

int main(int count, char **words) {
    int64_t listening_at = 0, first_answer_at = 0;
    parse_options(count, words);
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    deadline_ns = now_ns() + (int64_t)((options.seconds + options.drain) * 1e9);
    if (!strcmp(options.mode, "first")) {
        wait_for_listener();
        listening_at = now_ns();
        may_refuse = 1;
    }
    open_all();
    first_answer_at = now_ns();
    if (!strcmp(options.mode, "calls")) run_calls();
    else if (!strcmp(options.mode, "notify")) run_notify();
    print_figures(listening_at, first_answer_at);
    if (options.hold) while (getchar() != EOF) {}
    return 0;
}
