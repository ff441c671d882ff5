/* The MCP server of almost no cost, as a function: request frame in, answer frame out.
 *
 * echo {t, n, pad}: the text "<t>:<length of pad>:<n letters>", so that the caller sees that its
 *                   own tag came back, that the whole request arrived, and that the whole answer did.
 * emit {t, count}:  the same short text, then `count` numbered notifications. */
#ifndef ECHO_H
#define ECHO_H
#include "json.h"

#define TOOLS                                                                                        \
    "{\"tools\":[{\"name\":\"echo\",\"description\":\"echo\",\"inputSchema\":{\"type\":\"object\"}}," \
    "{\"name\":\"emit\",\"description\":\"emit\",\"inputSchema\":{\"type\":\"object\"}}]}"

static void answer_open(struct bytes *out, struct span id) {
    append_format(out, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,", (int)id.length, id.at);
}

static void answer_call(struct bytes *out, struct span id, struct span arguments) {
    struct span tag = json_string(json_get(arguments, "t")), pad = json_string(json_get(arguments, "pad"));
    size_t letters = (size_t)json_integer(json_get(arguments, "n"), 0);
    if (letters > ((size_t)64 << 20)) letters = 0;
    answer_open(out, id);
    append_format(out, "\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"%.*s:%zu:", (int)tag.length, tag.at, pad.length);
    append(out, filling(letters), letters);
    append(out, "\"}]}}", 5);
}

static void answer_initialize(struct bytes *out, struct span id, struct span params) {
    struct span version = json_get(params, "protocolVersion");
    answer_open(out, id);
    append_format(out, "\"result\":{\"protocolVersion\":%.*s,\"capabilities\":{\"tools\":{},\"logging\":{}},"
                       "\"serverInfo\":{\"name\":\"far-end\",\"version\":\"1\"}}}", (int)version.length, version.at);
}

/* Append the answer to `frame`, if it wants one, to `out`; the answer is the number of
 * notifications that `emit` asked for. */
static UNUSED int64_t answer_frame(struct bytes *out, struct span frame) {
    struct span id = json_get(frame, "id"), method = json_string(json_get(frame, "method"));
    if (!id.length || !method.length) return 0;      /* a notification, or an answer to us */
    if (span_is(method, "tools/call")) {
        struct span params = json_get(frame, "params"), arguments = json_get(params, "arguments");
        answer_call(out, id, arguments);
        return span_is(json_string(json_get(params, "name")), "emit") ? json_integer(json_get(arguments, "count"), 0) : 0;
    }
    if (span_is(method, "initialize")) {
        answer_initialize(out, id, json_get(frame, "params"));
        return 0;
    }
    answer_open(out, id);
    if (span_is(method, "tools/list")) append_format(out, "\"result\":%s}", TOOLS);
    else if (span_is(method, "ping") || span_is(method, "logging/setLevel")) append_format(out, "\"result\":{}}");
    else append_format(out, "\"error\":{\"code\":-32601,\"message\":\"method not found\"}}");
    return 0;
}

static UNUSED void append_notification(struct bytes *out, int64_t number) {
    append_format(out, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":"
                       "{\"level\":\"info\",\"data\":\"n%lld\"}}", (long long)number);
}

#endif
