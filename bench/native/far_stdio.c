/* The far end of the serve path: a stdio MCP server of almost no cost.
 *
 * Reads what there is, answers every whole line of it with one write. */
#include "echo.h"

static void write_all(struct bytes *out) {
    if (flush_some(STDOUT_FILENO, out) != 1) exit(0);
}

static void emit(struct bytes *out, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        append_notification(out, i);
        append(out, "\n", 1);
        if (pending(out) > 32768) write_all(out);
    }
}

int main(void) {
    struct bytes in = {0}, out = {0};
    size_t searched = 0;     /* pending bytes already known to hold no line end */
    signal(SIGPIPE, SIG_IGN);
    while (read_some(STDIN_FILENO, &in) > 0) {
        char *end;
        while (pending(&in) > searched &&
               (end = memchr(in.at + in.used + searched, '\n', pending(&in) - searched))) {
            struct span frame = {in.at + in.used, (size_t)(end - (in.at + in.used))};
            size_t before = out.length;
            int64_t count = answer_frame(&out, frame);
            if (out.length > before) append(&out, "\n", 1);
            if (count) emit(&out, count);
            in.used += frame.length + 1;
            searched = 0;
        }
        searched = pending(&in);
        write_all(&out);
    }
    return 0;
}
