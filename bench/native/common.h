/* What every program here needs: growable bytes, spans, a clock, waiting for descriptors.
 *
 * Each program is one C file that includes these headers; everything is static and small on
 * purpose. They are measuring tools: they trust their own harness, and nobody else runs them. */
#ifndef COMMON_H
#define COMMON_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

struct span { const char *at; size_t length; };

/* Bytes that grow; `used` is how far the reader of them has come. */
struct bytes { char *at; size_t length, capacity, used; };

static UNUSED void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

static UNUSED int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Make room for `more` bytes: first by dropping what was used, then by growing. */
static UNUSED void reserve(struct bytes *b, size_t more) {
    if (b->used == b->length) b->used = b->length = 0;
    if (b->length + more <= b->capacity) return;
    if (b->used > b->capacity / 2) {
        memmove(b->at, b->at + b->used, b->length - b->used);
        b->length -= b->used;
        b->used = 0;
    }
    if (b->length + more <= b->capacity) return;
    size_t capacity = b->capacity ? b->capacity : 1024;
    while (capacity < b->length + more) capacity *= 2;
    b->at = realloc(b->at, capacity);
    if (!b->at) die("no memory for %zu bytes", capacity);
    b->capacity = capacity;
}

static UNUSED void append(struct bytes *b, const void *data, size_t length) {
    reserve(b, length);
    memcpy(b->at + b->length, data, length);
    b->length += length;
}

static UNUSED void append_format(struct bytes *b, const char *format, ...) {
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text) die("text too long for one append");
    append(b, text, (size_t)length);
}

static UNUSED size_t pending(const struct bytes *b) { return b->length - b->used; }

static UNUSED void release(struct bytes *b) {
    free(b->at);
    memset(b, 0, sizeof *b);
}

/* The filling of long texts: a run of letters with a prime period, so that a lost or doubled
 * piece shows as a wrong content. Grows on demand; the answer is valid until it grows again. */
static UNUSED const char *filling(size_t length) {
    static char *text;
    static size_t made;
    if (length > made) {
        text = realloc(text, length);
        if (!text) die("no memory for a filling of %zu bytes", length);
        for (size_t i = made; i < length; i++) text[i] = (char)('A' + (i % 61) % 26 + ((i % 61) > 25 ? 32 : 0));
        made = length;
    }
    return text;
}

static UNUSED void set_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

/* Read once into `b`; the number of bytes, 0 at the end, -1 when there is nothing now. */
static UNUSED ssize_t read_some(int fd, struct bytes *b) {
    reserve(b, 65536);
    ssize_t got = read(fd, b->at + b->length, b->capacity - b->length);
    if (got > 0) b->length += (size_t)got;
    if (got < 0) return errno == EAGAIN || errno == EINTR ? -1 : 0;
    return got;
}

/* Write what is pending; 1 when all went, 0 when the peer is full, -1 when it is gone. */
static UNUSED int flush_some(int fd, struct bytes *b) {
    while (pending(b)) {
        ssize_t put = write(fd, b->at + b->used, pending(b));
        if (put < 0) {
            if (errno == EINTR) continue;
            return errno == EAGAIN ? 0 : -1;
        }
        b->used += (size_t)put;
    }
    b->used = b->length = 0;
    return 1;
}

static UNUSED void watch(int epoll_fd, int operation, int fd, uint32_t events, void *owner) {
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(epoll_fd, operation, fd, &event) < 0) die("epoll_ctl on descriptor %d: %s", fd, strerror(errno));
}

static UNUSED struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* A connected socket to 127.0.0.1:port, or -1. */
static UNUSED int connect_loopback(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = loopback(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    set_nonblocking(fd);
    return fd;
}

static UNUSED int listen_loopback(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind to port %d: %s", port, strerror(errno));
    if (listen(fd, 1024) < 0) die("listen: %s", strerror(errno));
    set_nonblocking(fd);
    return fd;
}

static UNUSED int accept_client(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    if (fd >= 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

#endif
