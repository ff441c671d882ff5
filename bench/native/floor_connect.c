/* The floor of the connect path: the least a process can do between stdio and an HTTP server.
 *
 * floor_connect URL: each line from stdin is POSTed on a free keep-alive connection; the JSON body,
 * or the data of each SSE event, becomes a line on stdout. No checks, no limits, no retries. */
#include "json.h"
#include "http.h"

struct upstream { int fd, writing, is_busy, is_stream; struct http http; struct bytes out; struct upstream *next_free; };

static int epoll_fd, port, stdout_is_full;
static char path[256] = "/", session[256];
static struct bytes in, out;
static size_t searched;
static struct upstream *free_ones;

static void read_url(const char *url) {
    const char *host = strstr(url, "://"), *colon = host ? strchr(host + 3, ':') : NULL, *slash = colon ? strchr(colon, '/') : NULL;
    if (!colon) die("the url needs a port: %s", url);
    port = atoi(colon + 1);
    if (slash) snprintf(path, sizeof path, "%s", slash);
}

static struct upstream *open_upstream(void) {
    struct upstream *u = calloc(1, sizeof *u);
    if ((u->fd = connect_loopback(port)) < 0) die("connection refused on port %d", port);
    watch(epoll_fd, EPOLL_CTL_ADD, u->fd, EPOLLIN, u);
    return u;
}

static void flush_upstream(struct upstream *u) {
    int done = flush_some(u->fd, &u->out);
    if (done < 0) die("the server closed a connection");
    if (u->writing == !done) return;
    u->writing = !done;
    watch(epoll_fd, EPOLL_CTL_MOD, u->fd, u->writing ? EPOLLIN | EPOLLOUT : EPOLLIN, u);
}

static void flush_stdout(void) {
    int done = flush_some(STDOUT_FILENO, &out);
    if (done < 0) exit(0);
    if (stdout_is_full == !done) return;
    stdout_is_full = !done;
    watch(epoll_fd, EPOLL_CTL_MOD, STDOUT_FILENO, stdout_is_full ? EPOLLOUT : 0, &out);
}

static void append_head(struct upstream *u, const char *method, size_t length) {
    append_format(&u->out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                           "Accept: application/json, text/event-stream\r\n%s%s%sContent-Length: %zu\r\n\r\n", method, path,
                  port, session[0] ? "Mcp-Session-Id: " : "", session, session[0] ? "\r\n" : "", length);
}

static void post_line(struct span line) {
    struct upstream *u = free_ones;
    if (u) free_ones = u->next_free;
    else u = open_upstream();
    append_head(u, "POST", line.length);
    append(&u->out, line.at, line.length);
    flush_upstream(u);
    if (line.length < 100 && span_is(json_string(json_get(line, "method")), "notifications/initialized")) {
        u = open_upstream();
        u->is_stream = 1;
        append_head(u, "GET", 0);
        flush_upstream(u);
    }
}

static void take_lines(void) {
    char *end;
    if (read_some(STDIN_FILENO, &in) == 0) exit(0);
    while (pending(&in) > searched && (end = memchr(in.at + in.used + searched, '\n', pending(&in) - searched))) {
        struct span line = {in.at + in.used, (size_t)(end - (in.at + in.used))};
        in.used += line.length + 1;
        searched = 0;
        post_line(line);
    }
    searched = pending(&in);
}

static void give_line(struct span line) {
    append(&out, line.at, line.length);
    append(&out, "\n", 1);
}

static void take_response(struct upstream *u) {
    struct span data;
    if (u->is_stream && pending(&out) > (1 << 20)) return;     /* a slow reader holds the stream back */
    if (read_some(u->fd, &u->http.in) == 0) die("the server closed a connection");
    int complete = http_read(&u->http);
    if (u->http.head_done && u->http.is_sse)
        while ((data = sse_next(&u->http)).at) give_line(data);
    if (!complete) return;
    if (u->http.session[0]) snprintf(session, sizeof session, "%s", u->http.session);
    if (!u->http.is_sse && u->http.body.length) give_line((struct span){u->http.body.at, u->http.body.length});
    http_next(&u->http);
    u->next_free = free_ones;
    free_ones = u;
}

int main(int count, char **words) {
    if (count != 2) die("usage: floor_connect URL");
    read_url(words[1]);
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    set_nonblocking(STDIN_FILENO);
    set_nonblocking(STDOUT_FILENO);
    watch(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &in);
    watch(epoll_fd, EPOLL_CTL_ADD, STDOUT_FILENO, 0, &out);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct upstream *u = events[i].data.ptr;
            if (events[i].data.ptr == &in) take_lines();
            else if (events[i].data.ptr == &out) flush_stdout();
            else {
                if (events[i].events & EPOLLOUT) flush_upstream(u);
                if (events[i].events & ~EPOLLOUT) take_response(u);
            }
        }
        if (pending(&out) && !stdout_is_full) flush_stdout();      /* what this turn brought, in one write */
    }
}
