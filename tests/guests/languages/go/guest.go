// The guest of ../guest.wit in Go. There is no generator of bindings here, so the types stand in
// memory as the canonical ABI says, written by hand. Pointers are 32 bits wide there and 64 bits in
// Go, so those of the ABI are plain numbers, and what they lead to is kept from the garbage
// collector for the time of a call.
package main

import (
	"crypto/rand"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"time"
	"unsafe"
)

type address uint32

type text struct {
	bytes  address
	length uint32
}

type texts struct {
	items address
	count uint32
}

type item struct {
	name  text
	count uint64
	tags  texts
	note  struct {
		isSome uint8
		value  text
	}
}

// option<item>
type found struct {
	isSome uint8
	item   item
}

// result<item, string>
type applied struct {
	isError uint8
	value   [5]uint64 // an item, or a text
}

const (
	clear = iota
	add
	rename
	tag
)

type change struct {
	kind  uint8
	value uint64 // or what else the case has
}

//go:wasmimport test:guest-language/catalog@0.1.0 find
func find(name address, length uint32, found unsafe.Pointer)

// What addresses of this call lead to: what the host put here, and the result.
var kept []any

func addressOf[T any](things []T) address {
	kept = append(kept, things)
	return address(uintptr(unsafe.Pointer(unsafe.SliceData(things))))
}

func at[T any](address address, count uint32) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(uintptr(address))), count)
}

func textOf(s string) text {
	return text{addressOf([]byte(s)), uint32(len(s))}
}

func (t text) String() string {
	return string(at[byte](t.bytes, t.length))
}

// The collector asks for the time, and a guest must ask the host for nothing while it takes what the
// host passes (cabi_realloc), where Go would begin to collect. So it never does: an instance is
// good for some thousand calls, and hosts make a new one for each by default.
func init() {
	debug.SetGCPercent(-1)
}

//go:wasmexport cabi_realloc
func realloc(old, was, align, size uint32) uint32 {
	block := make([]uint64, size/8+1) // aligned for every type
	into := addressOf(block)
	copy(at[byte](into, size), at[byte](address(old), was))
	return uint32(into)
}

// The result of a function that returns more than a number.
func returned[T any](result T) uint32 {
	return uint32(addressOf([]T{result}))
}

func failed(message string) uint32 {
	result := applied{isError: 1}
	*(*text)(unsafe.Pointer(&result.value)) = textOf(message)
	return returned(result)
}

//go:wasmexport test:guest-language/stock@0.1.0#apply
func apply(name, length, changes, count uint32) uint32 {
	var in found
	find(address(name), length, unsafe.Pointer(&in))
	if in.isSome == 0 {
		return failed("no " + text{address(name), length}.String())
	}
	for _, change := range at[change](address(changes), count) {
		value := unsafe.Pointer(&change.value)
		switch change.kind {
		case clear:
			in.item.note.isSome = 0
		case add:
			if *(*uint64)(value) > math.MaxUint64-in.item.count {
				return failed("too many " + in.item.name.String())
			}
			in.item.count += *(*uint64)(value)
		case rename:
			in.item.name = *(*text)(value)
		case tag:
			first, second := in.item.tags, *(*texts)(value)
			all := append([]text{}, at[text](first.items, first.count)...)
			all = append(all, at[text](second.items, second.count)...)
			in.item.tags = texts{addressOf(all), uint32(len(all))}
		}
	}
	result := applied{}
	*(*item)(unsafe.Pointer(&result.value)) = in.item
	return returned(result)
}

//go:wasmexport handle
func handle(bytes, length uint32) uint32 {
	return returned(textOf("Hello, " + text{address(bytes), length}.String() + "!"))
}

//go:wasmexport probe
func probe(bytes, length uint32) uint32 {
	return returned(textOf(probed(text{address(bytes), length}.String())))
}

func probed(what string) string {
	switch what {
	case "print":
		fmt.Println("to out")
		fmt.Fprintln(os.Stderr, "to err")
		return "printed"
	case "env":
		return os.Getenv("GUEST")
	case "args":
		return strings.Join(os.Args, " ")
	case "clock":
		return fmt.Sprint(time.Now().UnixMilli())
	case "random":
		return fmt.Sprint(rand.Text())
	case "file":
		text, _ := os.ReadFile("/files/greeting")
		return string(text)
	}
	return "none"
}

//go:wasmexport cabi_post_test:guest-language/stock@0.1.0#apply
func applyEnd(uint32) { kept = nil }

//go:wasmexport cabi_post_handle
func handleEnd(uint32) { kept = nil }

//go:wasmexport cabi_post_probe
func probeEnd(uint32) { kept = nil }

func main() {}
