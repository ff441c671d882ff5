/* The floor of the hop path: the least a process can do between HTTP and HTTP.
 *
 * floor_hop PORT URL: a connection to the server for each one accepted, and the bytes passed on as
 * they come, unread. */
#include "common.h"

struct side { int fd, writing; struct bytes out; struct side *other; };

static int epoll_fd;

static void set_events(struct side *s) {
    /* A side is read only while the other one takes what it says. */
    watch(epoll_fd, EPOLL_CTL_MOD, s->fd, (s->other->writing ? 0u : EPOLLIN) | (s->writing ? EPOLLOUT : 0u), s);
}

static struct side *add_side(int fd) {
    struct side *s = calloc(1, sizeof *s);
    s->fd = fd;
    watch(epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, s);
    return s;
}

/* 0 when the peer is gone. */
static int flush_side(struct side *s) {
    int done = flush_some(s->fd, &s->out);
    if (done < 0) return 0;
    if (s->writing != !done) {
        s->writing = !done;
        set_events(s);
        set_events(s->other);
    }
    return 1;
}

static int pass_on(struct side *s) {
    ssize_t got = read_some(s->fd, &s->other->out);
    return got < 0 || (got > 0 && flush_side(s->other));
}

static void end_pair(struct side *s) {
    close(s->fd);
    close(s->other->fd);
    release(&s->out);
    release(&s->other->out);
    s->fd = s->other->fd = -1;       /* the structs stay: a later event of this turn may name one */
}

int main(int count, char **words) {
    if (count != 3) die("usage: floor_hop PORT URL");
    const char *colon = strrchr(words[2], ':');
    int listener = listen_loopback(atoi(words[1])), port = atoi(colon + 1), fd;
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll_fd, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct side *s = events[i].data.ptr;
            if (s && s->fd >= 0) {
                int alive = 1;
                if (events[i].events & EPOLLOUT) alive = flush_side(s);
                if (alive && events[i].events & ~EPOLLOUT) alive = pass_on(s);
                if (!alive) end_pair(s);
            }
            while (!s && (fd = accept_client(listener)) >= 0) {
                int up = connect_loopback(port);
                if (up < 0) die("connection refused on port %d", port);
                struct side *a = add_side(fd), *b = add_side(up);
                a->other = b, b->other = a;
            }
        }
    }
}
