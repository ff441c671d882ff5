/* Read HTTP/1.1 messages, both directions, and the SSE events in their bodies.
 *
 * http_read() is fed by appending to `in` and calling it; the decoded body grows in `body` while
 * it arrives, so that the events of an open stream are seen at once. */
#ifndef HTTP_H
#define HTTP_H
#include "common.h"

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_UNTIL_CLOSE };

struct http {
    struct bytes in, body;
    int head_done, complete, status, closes, is_sse, in_chunk;
    enum body_kind kind;
    size_t left;             /* of the body or of the chunk */
    char method[8], path[256], session[256];
    struct bytes event;      /* SSE: data of the event being read */
    char event_name[32];
    size_t searched;         /* pending bytes of the body known to hold no line end */
    int event_done;          /* the event in `event` was handed out */
};

static UNUSED void http_next(struct http *h) {
    h->head_done = h->complete = h->status = h->closes = h->is_sse = h->in_chunk = h->event_done = 0;
    h->left = h->searched = 0;
    h->method[0] = h->path[0] = h->session[0] = h->event_name[0] = 0;
    h->body.length = h->body.used = h->event.length = h->event.used = 0;
}

static UNUSED void http_release(struct http *h) {
    release(&h->in);
    release(&h->body);
    release(&h->event);
    memset(h, 0, sizeof *h);
}

static void http_header(struct http *h, const char *line, size_t length) {
    const char *colon = memchr(line, ':', length);
    if (!colon) return;
    size_t name = (size_t)(colon - line);
    const char *value = colon + 1, *end = line + length;
    while (value < end && *value == ' ') value++;
    size_t size = (size_t)(end - value);
    if (name == 14 && !strncasecmp(line, "content-length", name)) {
        h->left = strtoul(value, NULL, 10);
        if (h->kind != BODY_CHUNKED) h->kind = h->left ? BODY_LENGTH : BODY_NONE;
    } else if (name == 17 && !strncasecmp(line, "transfer-encoding", name)) {
        h->kind = BODY_CHUNKED;
    } else if (name == 12 && !strncasecmp(line, "content-type", name)) {
        h->is_sse = size >= 17 && !strncasecmp(value, "text/event-stream", 17);
    } else if (name == 10 && !strncasecmp(line, "connection", name)) {
        h->closes = size >= 5 && !strncasecmp(value, "close", 5);
    } else if (name == 14 && !strncasecmp(line, "mcp-session-id", name) && size < sizeof h->session) {
        memcpy(h->session, value, size);
        h->session[size] = 0;
    }
}

static int http_head(struct http *h) {
    const char *start = h->in.at + h->in.used;
    const char *end = memmem(start, pending(&h->in), "\r\n\r\n", 4);
    if (!end) return 0;
    const char *line = start;
    int is_response = !strncmp(start, "HTTP/", 5);
    h->kind = is_response ? BODY_UNTIL_CLOSE : BODY_NONE;
    if (is_response) h->status = atoi(start + 9);
    else sscanf(start, "%7s %255s", h->method, h->path);
    while ((line = memmem(line, (size_t)(end + 2 - line), "\r\n", 2)) && line < end) {
        line += 2;
        const char *stop = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        http_header(h, line, (size_t)(stop - line));
    }
    if (h->kind == BODY_CHUNKED) h->left = 0;
    if (h->status == 204 || h->status == 304) h->kind = BODY_NONE;
    h->in.used += (size_t)(end + 4 - start);
    h->head_done = 1;
    return 1;
}

/* Move up to `left` bytes of the body; 1 when none is left. */
static int http_move_body(struct http *h) {
    size_t take = pending(&h->in) < h->left ? pending(&h->in) : h->left;
    if (take) append(&h->body, h->in.at + h->in.used, take);
    h->in.used += take;
    h->left -= take;
    return h->left == 0;
}

static int http_chunks(struct http *h) {
    for (;;) {
        if (h->in_chunk == 1) {
            if (!http_move_body(h)) return 0;
            h->in_chunk = 2;
        }
        const char *line = h->in.at + h->in.used;
        const char *end = pending(&h->in) ? memmem(line, pending(&h->in), "\r\n", 2) : NULL;
        if (!end) return 0;
        h->in.used += (size_t)(end + 2 - line);
        if (h->in_chunk == 2) {              /* the line end after a chunk's data */
            h->in_chunk = 0;
        } else if (h->in_chunk == 3) {       /* trailers end with an empty line */
            if (end == line) return 1;
        } else {
            h->left = strtoul(line, NULL, 16);
            h->in_chunk = h->left ? 1 : 3;
        }
    }
}

/* Read on; 1 when the message is complete. */
static UNUSED int http_read(struct http *h) {
    if (h->complete) return 1;
    if (!h->head_done && !http_head(h)) return 0;
    switch (h->kind) {
    case BODY_NONE: h->complete = 1; break;
    case BODY_LENGTH: h->complete = http_move_body(h); break;
    case BODY_CHUNKED: h->complete = http_chunks(h); break;
    case BODY_UNTIL_CLOSE: h->left = pending(&h->in); http_move_body(h); break;
    }
    return h->complete;
}

/* The connection ended: that may be the proper end of the body. */
static UNUSED int http_ended_by_close(struct http *h) {
    return h->head_done && h->kind == BODY_UNTIL_CLOSE ? (h->closes = h->complete = 1) : 0;
}

/* The next whole SSE event of the body; its data, or at = NULL when there is none yet.
 * An event without data (a comment, a priming event) is passed over. */
static UNUSED struct span sse_next(struct http *h) {
    if (h->event_done) h->event_done = h->event_name[0] = 0, h->event.length = 0;
    for (;;) {
        char *line = h->body.at + h->body.used;
        size_t rest = pending(&h->body) - h->searched;
        char *end = rest ? memchr(line + h->searched, '\n', rest) : NULL;
        if (!end) {
            h->searched += rest;
            return (struct span){0};
        }
        h->searched = 0;
        size_t length = (size_t)(end - line);
        h->body.used += length + 1;
        if (length && line[length - 1] == '\r') length--;
        if (length > 5 && !memcmp(line, "data:", 5)) {
            size_t skip = line[5] == ' ' ? 6 : 5;
            if (h->event.length) append(&h->event, "\n", 1);
            append(&h->event, line + skip, length - skip);
        } else if (length > 6 && !memcmp(line, "event:", 6)) {
            size_t skip = line[6] == ' ' ? 7 : 6, size = length - skip;
            if (size >= sizeof h->event_name) size = sizeof h->event_name - 1;
            memcpy(h->event_name, line + skip, size);
            h->event_name[size] = 0;
        } else if (length == 0) {
            if (h->event.length) {
                h->event_done = 1;     /* its bytes stay until the next call */
                return (struct span){h->event.at, h->event.length};
            }
            h->event_name[0] = 0;
        }
    }
}

#endif
