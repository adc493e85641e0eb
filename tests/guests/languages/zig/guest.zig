//! The guest of ../guest.wit in Zig, without an operating system below it: `probe` has nothing.
//! The types stand in memory as the canonical ABI says.
const std = @import("std");

const catalog = "test:guest-language/catalog@0.1.0";
const stock = "test:guest-language/stock@0.1.0";

const Text = extern struct {
    bytes: [*]const u8,
    length: usize,

    fn of(slice: []const u8) Text {
        return .{ .bytes = slice.ptr, .length = slice.len };
    }
};

const Texts = extern struct { items: [*]const Text, count: usize };
const Note = extern struct { is_some: u8, value: Text };
const Item = extern struct { name: Text, count: u64, tags: Texts, note: Note };
const Found = extern struct { is_some: u8, item: Item };
const Applied = extern struct { is_error: u8, value: extern union { item: Item, text: Text } };
const Change = extern struct {
    kind: enum(u8) { clear, add, rename, tag },
    value: extern union { add: u64, rename: Text, tag: Texts },
};

extern "test:guest-language/catalog@0.1.0" fn find(
    name: [*]const u8,
    length: usize,
    found: *Found,
) void;

// What belongs to one call; forgotten when the host has taken the result.
var memory: [256 * 1024]u8 = undefined;
var arena = std.heap.FixedBufferAllocator.init(&memory);

fn joined(comptime T: type, first: []const T, second: []const T) []const T {
    return std.mem.concat(arena.allocator(), T, &.{ first, second }) catch @trap();
}

fn realloc(old: ?[*]u8, was: usize, alignment: usize, size: usize) callconv(.c) ?*anyopaque {
    const taken = arena.allocator().rawAlloc(size, .fromByteUnits(alignment), 0) orelse @trap();
    if (old) |bytes| @memcpy(taken[0..@min(was, size)], bytes[0..@min(was, size)]);
    return taken;
}

var applied: Applied = undefined;

fn failed(what: []const u8, name: Text) *Applied {
    const text = joined(u8, what, name.bytes[0..name.length]);
    applied = .{ .is_error = 1, .value = .{ .text = .of(text) } };
    return &applied;
}

fn apply(
    name: [*]const u8,
    length: usize,
    changes: [*]const Change,
    count: usize,
) callconv(.c) *Applied {
    var found: Found = undefined;
    find(name, length, &found);
    if (found.is_some == 0) {
        return failed("no ", .{ .bytes = name, .length = length });
    }
    var item = found.item;
    for (changes[0..count]) |change| {
        switch (change.kind) {
            .clear => item.note.is_some = 0,
            .add => item.count = std.math.add(u64, item.count, change.value.add) catch
                return failed("too many ", item.name),
            .rename => item.name = change.value.rename,
            .tag => {
                const added = change.value.tag;
                const all = joined(Text, item.tags.items[0..item.tags.count], added.items[0..added.count]);
                item.tags = .{ .items = all.ptr, .count = all.len };
            },
        }
    }
    applied = .{ .is_error = 0, .value = .{ .item = item } };
    return &applied;
}

var answer: Text = undefined;

fn handle(text: [*]const u8, length: usize) callconv(.c) *Text {
    answer = .of(joined(u8, joined(u8, "Hello, ", text[0..length]), "!"));
    return &answer;
}

fn probe(_: [*]const u8, _: usize) callconv(.c) *Text {
    answer = .of("none");
    return &answer;
}

fn end(_: *anyopaque) callconv(.c) void {
    arena.reset();
}

comptime {
    @export(&realloc, .{ .name = "cabi_realloc" });
    @export(&apply, .{ .name = stock ++ "#apply" });
    @export(&handle, .{ .name = "handle" });
    @export(&probe, .{ .name = "probe" });
    for (.{ stock ++ "#apply", "handle", "probe" }) |name| {
        @export(&end, .{ .name = "cabi_post_" ++ name });
    }
}
