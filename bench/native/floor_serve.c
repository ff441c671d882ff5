/* The floor of the serve path: the least a process can do between HTTP and a stdio child.
 *
 * floor_serve PORT COMMAND ARG...: one child, one epoll loop; the body of a POST becomes a line, the
 * line with its id becomes the response. No checks, no limits, no sessions: nobody should run this,
 * and nobody should be faster. Ids must be unique across connections, as the load generator's are. */
#include "json.h"
#include "http.h"

#define TABLE 65536

struct client { int fd, writing; struct http http; struct bytes out; int64_t id; };

static int epoll_fd, child_writing, to_child, from_child;
static struct bytes child_in, child_out;
static size_t searched;
static struct client *waiting[TABLE], *stream;

static void start_child(char **words) {
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC)) die("pipe: %s", strerror(errno));
    if (!fork()) {
        dup2(down[0], STDIN_FILENO);
        dup2(up[1], STDOUT_FILENO);
        execvp(words[0], words);
        die("cannot run %s: %s", words[0], strerror(errno));
    }
    close(down[0]);
    close(up[1]);
    to_child = down[1];
    from_child = up[0];
    set_nonblocking(to_child);
    set_nonblocking(from_child);
    fcntl(to_child, F_SETPIPE_SZ, 1 << 20);
    fcntl(from_child, F_SETPIPE_SZ, 1 << 20);
}

static void drop(struct client *c) {
    if (c->id && waiting[c->id % TABLE] == c) waiting[c->id % TABLE] = NULL;
    if (stream == c) stream = NULL;
    close(c->fd);
    http_release(&c->http);
    release(&c->out);
    free(c);
}

static int flush_client(struct client *c) {
    int done = flush_some(c->fd, &c->out);
    if (done < 0) return 0;
    if (c->writing == !done) return 1;
    c->writing = !done;
    watch(epoll_fd, EPOLL_CTL_MOD, c->fd, c->writing ? EPOLLIN | EPOLLOUT : EPOLLIN, c);
    return 1;
}

static void flush_child(void) {
    int done = flush_some(to_child, &child_out);
    if (done < 0) die("the child closed its stdin");
    if (child_writing == !done) return;
    child_writing = !done;
    watch(epoll_fd, EPOLL_CTL_MOD, to_child, child_writing ? EPOLLOUT : 0, &child_out);
}

static void request_received(struct client *c) {
    struct span body = {c->http.body.at, c->http.body.length};
    if (!strcmp(c->http.method, "GET")) {
        stream = c;
        append_format(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        return;
    }
    append(&child_out, body.at, body.length);
    append(&child_out, "\n", 1);
    c->id = json_integer(json_get(body, "id"), 0);
    if (c->id) waiting[c->id % TABLE] = c;
    else append_format(&c->out, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
}

static int serve(struct client *c) {
    if (read_some(c->fd, &c->http.in) == 0) return 0;
    while (pending(&c->http.in) && http_read(&c->http)) {
        request_received(c);
        http_next(&c->http);
    }
    return flush_client(c);
}

static void line_received(struct span line) {
    int64_t id = json_integer(json_get(line, "id"), 0);
    struct client *c = id ? waiting[id % TABLE] : stream;
    if (!c) return;
    if (id) {
        waiting[id % TABLE] = NULL;
        c->id = 0;
        append_format(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: floor\r\n"
                               "Content-Length: %zu\r\n\r\n", line.length);
        append(&c->out, line.at, line.length);
        flush_client(c);
    } else {
        append_format(&c->out, "%zx\r\ndata: ", line.length + 8);
        append(&c->out, line.at, line.length);
        append(&c->out, "\n\n\r\n", 4);
    }
}

static void take_lines(void) {
    char *end;
    if (stream && pending(&stream->out) > (1 << 20)) {     /* a slow listener holds the child back */
        flush_client(stream);
        return;
    }
    if (read_some(from_child, &child_in) == 0) die("the child ended");
    while (pending(&child_in) > searched &&
           (end = memchr(child_in.at + child_in.used + searched, '\n', pending(&child_in) - searched))) {
        struct span line = {child_in.at + child_in.used, (size_t)(end - (child_in.at + child_in.used))};
        child_in.used += line.length + 1;
        searched = 0;
        line_received(line);
    }
    searched = pending(&child_in);
    if (stream) flush_client(stream);
}

int main(int count, char **words) {
    if (count < 3) die("usage: floor_serve PORT COMMAND ARG...");
    signal(SIGPIPE, SIG_IGN);
    start_child(words + 2);
    int listener = listen_loopback(atoi(words[1])), fd;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll_fd, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    watch(epoll_fd, EPOLL_CTL_ADD, from_child, EPOLLIN, &child_in);
    watch(epoll_fd, EPOLL_CTL_ADD, to_child, 0, &child_out);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            int alive = 1;
            if (events[i].data.ptr == &child_in) {
                take_lines();
            } else if (events[i].data.ptr == &child_out) {
                flush_child();
            } else if (c) {
                if (events[i].events & EPOLLOUT) alive = flush_client(c);
                if (alive && events[i].events & ~EPOLLOUT) alive = serve(c);
                if (!alive) drop(c);
            } else {
                while ((fd = accept_client(listener)) >= 0) {
                    c = calloc(1, sizeof *c);
                    c->fd = fd;
                    watch(epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, c);
                }
            }
        }
        if (pending(&child_out) && !child_writing) flush_child();      /* what this turn brought, in one write */
    }
}
