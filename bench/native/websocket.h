/* WebSocket frames as a client writes and reads them, once the handshake is done (RFC 6455).
 *
 * The mask is four zeros: allowed, and the payload stays as it is. */
#ifndef WEBSOCKET_H
#define WEBSOCKET_H
#include "common.h"

enum { WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

static UNUSED void append_websocket(struct bytes *out, int opcode, const char *payload, size_t length) {
    unsigned char head[14] = {(unsigned char)(0x80 | opcode)};
    size_t at = 2, width = length < 126 ? 0 : length < 65536 ? 2 : 8;
    head[1] = (unsigned char)(0x80 | (width == 0 ? length : width == 2 ? 126 : 127));
    for (size_t i = width; i-- > 0;) head[at++] = (unsigned char)(length >> (8 * i));
    append(out, head, at + 4);
    append(out, payload, length);
}

/* Take one whole message off `in`; its opcode, 0 when it is not there yet, -1 when it is no whole message. */
static UNUSED int take_websocket(struct bytes *in, struct span *payload) {
    const unsigned char *head = (const unsigned char *)in->at + in->used;
    if (pending(in) < 2) return 0;
    size_t length = head[1] & 0x7f, at = 2, width = length < 126 ? 0 : length == 126 ? 2 : 8;
    if (pending(in) < at + width) return 0;
    if (width) length = 0;
    for (size_t i = 0; i < width; i++) length = length << 8 | head[at++];
    if (!(head[0] & 0x80) || head[1] & 0x80) return -1;
    if (pending(in) < at + length) return 0;
    *payload = (struct span){in->at + in->used + at, length};
    in->used += at + length;
    return head[0] & 0x0f;
}

#endif
