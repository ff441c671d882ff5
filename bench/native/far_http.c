/* The far end of the connect and hop paths: an HTTP MCP server of almost no cost.
 *
 * far_http PORT json|sse|stream: answers a POST with JSON, or with an SSE stream of one event, or
 * (HTTP+SSE of 2024-11-05) on the session's own stream. A GET opens the notification stream of its
 * session; without a session header it is refused with 405. */
#include "echo.h"
#include "http.h"

#define MOST_SESSIONS 65536

struct client { int fd, writing; struct http http; struct bytes out; unsigned session; int64_t emitted, to_emit; };

static int epoll_fd, answers_sse, answers_on_stream;
static unsigned session_count;
static struct client *streams[MOST_SESSIONS];
static struct bytes frame_out;

static unsigned session_number(const struct http *h) {
    const char *query = strstr(h->path, "session_id=s");
    if (query) return (unsigned)atoi(query + 12) % MOST_SESSIONS;
    return h->session[0] == 's' ? (unsigned)atoi(h->session + 1) % MOST_SESSIONS : 0;
}

static void append_event(struct bytes *out, struct bytes *frame) {
    append_format(out, "%zx\r\nevent: message\ndata: ", frame->length + 23);
    append(out, frame->at, frame->length);
    append(out, "\n\n\r\n", 4);
}

static void append_answer(struct client *c, int is_first) {
    char session[64] = "";
    if (is_first) snprintf(session, sizeof session, "Mcp-Session-Id: s%u\r\n", ++session_count % MOST_SESSIONS);
    if (answers_sse) {
        append_format(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%s"
                               "Transfer-Encoding: chunked\r\n\r\n", session);
        append_event(&c->out, &frame_out);
        append(&c->out, "0\r\n\r\n", 5);
    } else {
        append_format(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%s"
                               "Content-Length: %zu\r\n\r\n", session, frame_out.length);
        append(&c->out, frame_out.at, frame_out.length);
    }
}

static void drop(struct client *c) {
    if (c->session && streams[c->session] == c) streams[c->session] = NULL;
    close(c->fd);
    http_release(&c->http);
    release(&c->out);
    free(c);
}

/* Write, with as many notifications as the peer takes; 0 when the client is gone. */
static int flush_client(struct client *c) {
    int done;
    do {
        while (c->emitted < c->to_emit && pending(&c->out) < 32768) {
            frame_out.length = frame_out.used = 0;
            append_notification(&frame_out, c->emitted++);
            append_event(&c->out, &frame_out);
        }
        done = flush_some(c->fd, &c->out);
    } while (done == 1 && c->emitted < c->to_emit);
    if (done < 0) return 0;
    if (c->writing != !done) {
        c->writing = !done;
        watch(epoll_fd, EPOLL_CTL_MOD, c->fd, c->writing ? EPOLLIN | EPOLLOUT : EPOLLIN, c);
    }
    return 1;
}

static void answer_post(struct client *c) {
    struct span frame = {c->http.body.at, c->http.body.length};
    frame_out.length = frame_out.used = 0;
    int64_t count = answer_frame(&frame_out, frame);
    if (!frame_out.length) {
        append_format(&c->out, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    struct client *own = answers_on_stream ? streams[session_number(&c->http)] : NULL;
    if (own) {
        append_format(&c->out, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
        append_event(&own->out, &frame_out);
        flush_client(own);
    } else append_answer(c, span_is(json_string(json_get(frame, "method")), "initialize"));
    struct client *stream = count ? streams[session_number(&c->http)] : NULL;
    if (stream) {
        flush_client(c);                       /* the answer leaves before the notifications */
        stream->emitted = 0;
        stream->to_emit = count;
        flush_client(stream);
    }
}

static void answer_get(struct client *c) {
    c->session = answers_on_stream ? ++session_count % MOST_SESSIONS : session_number(&c->http);
    if (!c->session) {
        append_format(&c->out, "HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    streams[c->session] = c;
    append_format(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    if (answers_on_stream) {
        char event[96];
        int length = snprintf(event, sizeof event, "event: endpoint\ndata: /messages?session_id=s%u\n\n", c->session);
        append_format(&c->out, "%x\r\n%s\r\n", length, event);
    }
}

/* 0 when the client is gone. */
static int serve(struct client *c) {
    ssize_t got = read_some(c->fd, &c->http.in);
    if (got == 0) return 0;
    while (pending(&c->http.in) && http_read(&c->http)) {
        if (!strcmp(c->http.method, "POST")) answer_post(c);
        else if (!strcmp(c->http.method, "GET")) answer_get(c);
        else append_format(&c->out, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        http_next(&c->http);
    }
    return flush_client(c);
}

int main(int count, char **words) {
    if (count != 3) die("usage: far_http PORT json|sse|stream");
    answers_sse = !strcmp(words[2], "sse");
    answers_on_stream = !strcmp(words[2], "stream");
    int listener = listen_loopback(atoi(words[1])), fd;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    signal(SIGPIPE, SIG_IGN);
    watch(epoll_fd, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            if (c) {
                int alive = 1;
                if (events[i].events & EPOLLOUT) alive = flush_client(c);
                if (alive && events[i].events & ~EPOLLOUT) alive = serve(c);
                if (!alive) drop(c);
                continue;
            }
            while ((fd = accept_client(listener)) >= 0) {
                c = calloc(1, sizeof *c);
                c->fd = fd;
                watch(epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, c);
            }
        }
    }
}
