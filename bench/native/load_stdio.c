/* The stdio load generator: an MCP client on the two pipes of a running bridge, or on a socket that leads to one.
 *
 * The harness starts the bridge and hands over its stdout (--read-fd) and stdin (--write-fd), or a connected socket
 * twice. Frames are lines, or WebSocket messages (--framing websocket; the harness has shaken hands). Keeps
 * --in-flight calls under way, checks every answer, prints one line of JSON.
 * Modes: calls | notify | first (start-up: only the handshake). */
#include "load.h"
#include "websocket.h"

struct call { int64_t id, started; };

static struct bytes in, out, frame;
static size_t searched;          /* pending bytes of `in` known to hold no line end */
static struct call *calls;
static int busy, stopping, is_emitting, epoll_fd, writing, handshake_done;
static int64_t next_id = 1, due_next, due_step, next_notification;

static void flush_out(void) {
    int done = flush_some(options.write_fd, &out);
    if (done < 0) fail("the bridge closed its stdin");
    if (writing == !done) return;
    writing = !done;
    watch(epoll_fd, EPOLL_CTL_MOD, options.write_fd, writing ? EPOLLOUT : 0, &out);
}

static void send_frame(void) {
    if (options.is_websocket) {
        append_websocket(&out, WS_TEXT, frame.at, frame.length);
    } else {
        append(&frame, "\n", 1);
        append(&out, frame.at, frame.length);
    }
    frame.length = 0;
}

static void send_call(struct call *c, int64_t due) {
    c->id = next_id++ * options.in_flight + (c - calls);
    c->started = due ? due : now_ns();
    busy++;
    if (is_emitting) append_emit_call(&frame, c->id);
    else append_call(&frame, c->id);
    send_frame();
}

static void send_due(struct call *c) {
    if (due_next > now_ns() || stopping) return;
    send_call(c, due_next);
    due_next += due_step;
}

static void call_finished(struct call *c) {
    c->id = 0;
    busy--;
    if (stopping || is_emitting) return;
    if (options.limit && answered_total >= options.limit) stopping = 1;
    else if (due_step) send_due(c);
    else send_call(c, 0);
}

static void frame_received(struct span line) {
    int64_t id = json_integer(json_get(line, "id"), 0);
    if (!*json_skip_space(line.at, line.at + line.length)) return;
    if (*line.at != '{') fail("a line that is no frame: %.*s", (int)(line.length < 200 ? line.length : 200), line.at);
    if (json_get(line, "method").length) {
        count_notification(line, &next_notification);
        return;
    }
    if (!handshake_done) {
        if (id != 1 || !json_get(json_get(line, "result"), "protocolVersion").length)
            fail("initialize was refused: %.*s", (int)(line.length < 200 ? line.length : 200), line.at);
        handshake_done = 1;
        return;
    }
    struct call *c = &calls[id > 0 ? id % options.in_flight : 0];
    if (!id || c->id != id) fail("an answer with id %lld, which nobody waits for", (long long)id);
    check_answer(line, id, is_emitting);
    if (!is_emitting) record_answer(c->started);
    call_finished(c);
}

static void take_messages(void) {
    struct span payload;
    int opcode;
    while ((opcode = take_websocket(&in, &payload))) {
        if (opcode == WS_PING) append_websocket(&out, WS_PONG, payload.at, payload.length);
        else if (opcode == WS_TEXT || opcode == WS_BINARY) frame_received(payload);
        else if (opcode != WS_PONG) fail("a WebSocket frame that is no message: opcode %d", opcode);
    }
}

static void take_lines(void) {
    char *end;
    while (pending(&in) > searched && (end = memchr(in.at + in.used + searched, '\n', pending(&in) - searched))) {
        struct span line = {in.at + in.used, (size_t)(end - (in.at + in.used))};
        in.used += line.length + 1;
        searched = 0;
        if (line.length) frame_received(line);
    }
    searched = pending(&in);
}

static void take_frames(void) {
    ssize_t got = read_some(options.read_fd, &in);
    if (got == 0) fail("the bridge ended its output; %lld calls were answered", (long long)answered_total);
    if (options.is_websocket) take_messages();
    else take_lines();
    if (pending(&out) && !writing) flush_out();      /* what those answers let go, in one write */
}

static void turn(int64_t until) {
    struct epoll_event events[4];
    int64_t now = now_ns(), left = until - now;
    if (now > deadline_ns) fail("timed out: %d calls unanswered, %lld answered before", busy, (long long)answered_total);
    int wait = left <= 0 ? 0 : (int)(left / 1000000) + !due_step;     /* at a fixed rate: spin, to be on time */
    int ready = epoll_wait(epoll_fd, events, 4, wait);
    for (int i = 0; i < ready; i++) {
        if (events[i].data.ptr == &in) take_frames();
        else if (events[i].events & EPOLLOUT) flush_out();
        else fail("the bridge closed its stdin");
    }
}

static void handshake(void) {
    append_initialize(&frame, 1);
    send_frame();
    flush_out();
    while (!handshake_done) turn(deadline_ns);
}

static void run_calls(void) {
    int64_t start = now_ns();
    window_from = start + (int64_t)(options.warm_up * 1e9);
    window_to = window_from + (int64_t)(options.seconds * 1e9);
    deadline_ns = window_to + (int64_t)(options.drain * 1e9);
    if (options.rate > 0) due_next = start, due_step = (int64_t)(1e9 / options.rate);
    else for (int i = 0; i < options.in_flight; i++) send_call(&calls[i], 0);
    flush_out();
    while (now_ns() < window_to && !stopping) {
        turn(due_step && due_next < window_to ? due_next : window_to);
        for (int i = 0; due_step && i < options.in_flight && due_next <= now_ns(); i++)
            if (!calls[i].id) send_due(&calls[i]);
        if (due_step && pending(&out) && !writing) flush_out();
    }
    stopping = 1;
    lengthen_empty_window();
    deadline_ns = now_ns() + (int64_t)(options.drain * 1e9);
    while (busy) turn(deadline_ns);
    if (!recorded) fail("no call was answered within %.1f s", options.seconds + options.drain);
}

static void run_notify(void) {
    is_emitting = 1;
    deadline_ns = now_ns() + (int64_t)((options.seconds + options.drain) * 1e9);
    usleep(300000);                  /* the bridge opens its event stream after the handshake */
    send_call(&calls[0], 0);
    flush_out();
    while (notifications < options.count) {
        turn(now_ns() + 100000000);
        int64_t quiet = now_ns() - (notification_last ? notification_last : deadline_ns);
        if (now_ns() > deadline_ns - 200000000 || quiet > 3000000000) break;
    }
    if (!notifications) fail("no notification arrived (of %lld)", (long long)options.count);
    if (notifications < options.count && now_ns() - notification_last > 1000000000)
        fail("only %lld of %lld notifications arrived", (long long)notifications, (long long)options.count);
}

int main(int count, char **words) {
    parse_options(count, words);
    signal(SIGPIPE, SIG_IGN);
    calls = calloc((size_t)options.in_flight, sizeof *calls);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    set_nonblocking(options.read_fd);
    set_nonblocking(options.write_fd);
    watch(epoll_fd, EPOLL_CTL_ADD, options.read_fd, EPOLLIN, &in);
    watch(epoll_fd, EPOLL_CTL_ADD, options.write_fd, 0, &out);
    deadline_ns = now_ns() + (int64_t)((options.seconds + options.drain) * 1e9);
    handshake();
    int64_t first_answer_at = now_ns();
    append(&frame, INITIALIZED, strlen(INITIALIZED));
    send_frame();
    flush_out();
    if (!strcmp(options.mode, "calls")) run_calls();
    else if (!strcmp(options.mode, "notify")) run_notify();
    print_figures(0, first_answer_at);
    return 0;
}
