/* What both load generators share: the request frames, the check of the answers, the figures.
 *
 * Every call carries an id and a tag of its own. An answer counts only if id, tag, the length of
 * the request's padding and every letter of the filling are right, and if it is one whole object
 * that is no error; anything else fails the run. */
#ifndef LOAD_H
#define LOAD_H
#include "json.h"
#include <math.h>
#include <signal.h>
#include <sys/prctl.h>

static int64_t deadline_ns;      /* nothing waits beyond this */

struct options {
    int port, in_flight, sessions, idle_sessions, streams, hold, is_sse_transport, is_websocket, read_fd, write_fd;
    const char *mode, *path, *protocol, *tool_prefix, *bearer;
    double seconds, warm_up, rate, drain;
    size_t request_size, result_size;
    int64_t count, limit;
};

static struct options options = {
    .in_flight = 1, .sessions = 1, .mode = "calls", .path = "/mcp", .protocol = "2025-06-18", .tool_prefix = "", .bearer = "",
    .seconds = 1, .warm_up = 0.2, .drain = 15, .read_fd = -1, .write_fd = -1,
};

static void parse_options(int count, char **words) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);      /* an interrupt may come before the harness knows of this process */
    for (int i = 1; i + 1 < count; i += 2) {
        const char *name = words[i], *value = words[i + 1];
        if (!strcmp(name, "--port")) options.port = atoi(value);
        else if (!strcmp(name, "--path")) options.path = value;
        else if (!strcmp(name, "--protocol")) options.protocol = value;
        else if (!strcmp(name, "--tool-prefix")) options.tool_prefix = value;
        else if (!strcmp(name, "--bearer")) options.bearer = value;
        else if (!strcmp(name, "--mode")) options.mode = value;
        else if (!strcmp(name, "--transport")) options.is_sse_transport = !strcmp(value, "sse");
        else if (!strcmp(name, "--in-flight")) options.in_flight = atoi(value);
        else if (!strcmp(name, "--sessions")) options.sessions = atoi(value);
        else if (!strcmp(name, "--idle-sessions")) options.idle_sessions = atoi(value);
        else if (!strcmp(name, "--streams")) options.streams = atoi(value);
        else if (!strcmp(name, "--hold")) options.hold = atoi(value);
        else if (!strcmp(name, "--seconds")) options.seconds = atof(value);
        else if (!strcmp(name, "--warm-up")) options.warm_up = atof(value);
        else if (!strcmp(name, "--drain")) options.drain = atof(value);
        else if (!strcmp(name, "--rate")) options.rate = atof(value);
        else if (!strcmp(name, "--count")) options.count = atoll(value);
        else if (!strcmp(name, "--limit")) options.limit = atoll(value);
        else if (!strcmp(name, "--request-size")) options.request_size = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--result-size")) options.result_size = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--read-fd")) options.read_fd = atoi(value);
        else if (!strcmp(name, "--framing")) options.is_websocket = !strcmp(value, "websocket");
        else if (!strcmp(name, "--write-fd")) options.write_fd = atoi(value);
        else die("unknown option %s", name);
    }
}

/* ---- figures ---------------------------------------------------------------------------------- */

#define STEPS 128                /* per power of two: under one per cent of error */
static uint64_t histogram[64 * STEPS];
static int64_t recorded, recorded_sum, recorded_most, notifications, notification_first, notification_last;
static int64_t answered_total, reconnects, window_from, window_to, window_last;

static void record(int64_t ns) {
    int power = 63 - __builtin_clzll((uint64_t)(ns | 1));
    int step = power >= 7 ? (int)((ns >> (power - 7)) & (STEPS - 1)) : (int)ns & (STEPS - 1);
    histogram[power * STEPS + step]++;
    recorded++;
    recorded_sum += ns;
    if (ns > recorded_most) recorded_most = ns;
}

static double percentile_us(double share) {
    uint64_t wanted = (uint64_t)(share * (double)recorded), seen = 0;
    for (int i = 0; i < 64 * STEPS; i++) {
        if ((seen += histogram[i]) <= wanted) continue;
        int power = i / STEPS, step = i % STEPS;
        return (power >= 7 ? ldexp(1.0 + (step + 0.5) / STEPS, power) : step) / 1000.0;
    }
    return (double)recorded_most / 1000.0;
}

/* A bridge so slow that the window saw no answer is given until the end of the drain. */
static void lengthen_empty_window(void) {
    if (!recorded) window_to = INT64_MAX;
}

static double window_seconds(void) {
    return window_to == INT64_MAX ? (double)(window_last - window_from) / 1e9 : options.seconds;
}

static void record_answer(int64_t started) {
    int64_t now = now_ns();
    answered_total++;
    if (now < window_from || now > window_to) return;
    window_last = now;
    record(now - started);
}

static void print_quoted(const char *text, size_t length) {
    putchar('"');
    for (size_t i = 0; i < length && i < 300; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') printf("\\%c", c);
        else if (c < 32 || c > 126) putchar('?');
        else putchar(c);
    }
    putchar('"');
}

/* End the run: it measured nothing that may be shown. */
static void fail(const char *format, ...) {
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printf("{\"ok\":false,\"reason\":");
    print_quoted(text, strlen(text));
    printf("}\n");
    exit(1);
}

static void print_figures(int64_t listening_at, int64_t first_answer_at) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    double flowing = (double)(notification_last - notification_first) / 1e9;
    printf("{\"ok\":true,\"calls\":%lld,\"all_calls\":%lld,\"per_second\":%.1f,", (long long)recorded,
           (long long)answered_total, (double)recorded / window_seconds());
    printf("\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"mean_us\":%.1f,", percentile_us(.5),
           percentile_us(.9), percentile_us(.99), (double)recorded_most / 1e3,
           recorded ? (double)recorded_sum / (double)recorded / 1e3 : 0.0);
    printf("\"notifications\":%lld,\"notification_seconds\":%.6f,", (long long)notifications, flowing);
    printf("\"listening_at_ns\":%lld,\"first_answer_at_ns\":%lld,", (long long)listening_at, (long long)first_answer_at);
    printf("\"reconnects\":%lld,\"client_cpu_seconds\":%.3f}\n", (long long)reconnects, cpu);
    fflush(stdout);
}

/* ---- frames ----------------------------------------------------------------------------------- */

#define CALL_FRAME 96            /* a call with no padding, and an answer with no filling, about */
#define ANSWER_FRAME 90

static void append_call(struct bytes *out, int64_t id) {
    size_t pad = options.request_size > CALL_FRAME + 20 ? options.request_size - CALL_FRAME - 12 : 0;
    size_t letters = options.result_size > ANSWER_FRAME ? options.result_size - ANSWER_FRAME : 0;
    append_format(out, "{\"jsonrpc\":\"2.0\",\"id\":%lld,\"method\":\"tools/call\",\"params\":{\"name\":\"%secho\","
                       "\"arguments\":{\"t\":\"%lld\",\"n\":%zu", (long long)id, options.tool_prefix, (long long)id, letters);
    if (pad) {
        append(out, ",\"pad\":\"", 8);
        append(out, filling(pad), pad);
        append(out, "\"", 1);
    }
    append(out, "}}}", 3);
}

static void append_emit_call(struct bytes *out, int64_t id) {
    append_format(out, "{\"jsonrpc\":\"2.0\",\"id\":%lld,\"method\":\"tools/call\",\"params\":{\"name\":\"%semit\","
                       "\"arguments\":{\"t\":\"%lld\",\"count\":%lld}}}",
                  (long long)id, options.tool_prefix, (long long)id, (long long)options.count);
}

static void append_initialize(struct bytes *out, int64_t id) {
    append_format(out, "{\"jsonrpc\":\"2.0\",\"id\":%lld,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"%s\","
                       "\"capabilities\":{},\"clientInfo\":{\"name\":\"relay-bench\",\"version\":\"1\"}}}",
                  (long long)id, options.protocol);
}

#define INITIALIZED "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"

/* Fail unless `answer` is the right one for the call `id`. */
static void check_answer(struct span answer, int64_t id, int is_emit) {
    size_t pad = !is_emit && options.request_size > CALL_FRAME + 20 ? options.request_size - CALL_FRAME - 12 : 0;
    size_t letters = !is_emit && options.result_size > ANSWER_FRAME ? options.result_size - ANSWER_FRAME : 0;
    struct span result = json_get(answer, "result"), content = json_get(result, "content");
    struct span text = json_string(json_get(content, "text"));
    int is_plain = json_is_whole(answer) && json_has_one(content) && !json_get(answer, "error").length &&
                   span_is(json_string(json_get(answer, "jsonrpc")), "2.0") &&
                   !span_is(json_get(result, "isError"), "true");
    char start[80];
    size_t length = (size_t)snprintf(start, sizeof start, "%lld:%zu:", (long long)id, pad);
    if (is_plain && text.length == length + letters && !memcmp(text.at, start, length) &&
        !memcmp(text.at + length, filling(letters), letters)) return;
    size_t shown = answer.length < 200 ? answer.length : 200;
    fail("wrong answer to call %lld: %.*s", (long long)id, (int)shown, answer.at);
}

/* Count a frame that is no answer of ours; the emitted ones must come in order on each stream. */
static void count_notification(struct span frame, int64_t *expected) {
    struct span value = json_get(json_get(frame, "params"), "data");
    struct span data = json_string(value.length && *value.at == '{' ? json_get(value, "msg") : value);     /* FastMCP wraps it */
    if (!span_is(json_string(json_get(frame, "method")), "notifications/message") || !data.length) return;
    struct span number = {data.at + 1, data.length - 1};
    if (json_integer(number, -1) != *expected)
        fail("notification %.*s came where n%lld was due", (int)data.length, data.at, (long long)*expected);
    ++*expected;
    notifications++;
    notification_last = now_ns();
    if (!notification_first) notification_first = notification_last;
}

#endif
