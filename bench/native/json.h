/* Just enough JSON: find the value of a key of an object, without building anything.
 *
 * Strings are skipped with memchr, so a megabyte of text costs microseconds. */
#ifndef JSON_H
#define JSON_H
#include "common.h"

static const char *json_skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
    return p;
}

/* p stands on the opening quote; the answer is past the closing one, or NULL. */
static const char *json_skip_string(const char *p, const char *end) {
    const char *start = ++p;
    while ((p = memchr(p, '"', (size_t)(end - p)))) {
        size_t slashes = 0;
        while (p - 1 - slashes >= start && p[-1 - (ssize_t)slashes] == '\\') slashes++;
        p++;
        if (slashes % 2 == 0) return p;
    }
    return NULL;
}

/* p stands on the first byte of a value; the answer is past it, or NULL. */
static const char *json_skip_value(const char *p, const char *end) {
    int depth = 0;
    while (p < end) {
        if (*p == '"') {
            if (!(p = json_skip_string(p, end))) return NULL;
            if (!depth) return p;
        } else if (*p == '{' || *p == '[') {
            depth++, p++;
        } else if (*p == '}' || *p == ']') {
            if (!depth) return p;
            p++;
            if (!--depth) return p;
        } else if (*p == ',' && !depth) {
            return p;
        } else {
            p++;
        }
    }
    return depth ? NULL : p;
}

/* Whether `text` is one object to its end, as far as its brackets tell. */
static UNUSED int json_is_whole(struct span text) {
    const char *end = text.at + text.length, *p = json_skip_space(text.at, end);
    return p < end && *p == '{' && (p = json_skip_value(p, end)) && json_skip_space(p, end) == end;
}

/* Whether `text` is an array of one value. */
static UNUSED int json_has_one(struct span text) {
    const char *end = text.at + text.length, *p = text.at;
    if (p >= end || *p != '[') return 0;
    p = json_skip_value(json_skip_space(p + 1, end), end);
    return p && (p = json_skip_space(p, end)) < end && *p == ']' && p + 1 == end;
}

/* The value of `key` in the object (or in the first element of the array) `text`; length 0: none. */
static UNUSED struct span json_get(struct span text, const char *key) {
    const char *end = text.at + text.length, *p = json_skip_space(text.at, end);
    size_t key_length = strlen(key);
    struct span none = {0};
    if (p < end && *p == '[') p = json_skip_space(p + 1, end);
    if (p >= end || *p != '{') return none;
    p++;
    while ((p = json_skip_space(p, end)) < end && *p == '"') {
        const char *name = p + 1, *after = json_skip_string(p, end);
        if (!after) return none;
        size_t name_length = (size_t)(after - 1 - name);
        p = json_skip_space(after, end);
        if (p >= end || *p != ':') return none;
        p = json_skip_space(p + 1, end);
        const char *value = p;
        if (!(p = json_skip_value(p, end))) return none;
        if (name_length == key_length && !memcmp(name, key, key_length)) {
            const char *last = p;
            while (last > value && (last[-1] == ' ' || last[-1] == '\n' || last[-1] == '\r' || last[-1] == '\t')) last--;
            return (struct span){value, (size_t)(last - value)};
        }
        p = json_skip_space(p, end);
        if (p >= end || *p != ',') return none;
        p++;
    }
    return none;
}

static UNUSED struct span json_string(struct span value) {
    if (value.length < 2 || *value.at != '"') return (struct span){0};
    return (struct span){value.at + 1, value.length - 2};
}

static UNUSED int64_t json_integer(struct span value, int64_t otherwise) {
    char digits[24] = {0};
    if (!value.length || value.length >= sizeof digits || !strchr("-0123456789", *value.at)) return otherwise;
    memcpy(digits, value.at, value.length);
    return strtoll(digits, NULL, 10);
}

static UNUSED int span_is(struct span s, const char *text) {
    return s.length == strlen(text) && !memcmp(s.at, text, s.length);
}

#endif
