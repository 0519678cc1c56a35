package schema

import (
	"errors"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/encoding/protowire"
)

// What is decoded may take more memory than its bytes: an item of a list of
// structs is two of them at least. There is a limit, so that a small request
// cannot take all memory; no honest one comes near it.
const (
	minBudget     = 32 << 20
	budgetPerByte = 16
	entryOverhead = 16 // of a map, roughly
)

// decoder bounds the decoding of one message.
type decoder struct {
	depth  int
	budget int // of bytes of memory
}

func (d *decoder) spend(n uintptr) error {
	if n > uintptr(max(d.budget, 0)) {
		return fmt.Errorf("decoded it would take far more memory than its bytes do")
	}
	d.budget -= int(n)
	return nil
}

// part is one field as it was sent.
type part struct {
	number protowire.Number
	wire   protowire.Type
	bits   uint64 // of a number
	body   []byte // of what has a length
}

var errNumber = errors.New("a field's number is too large")

// next takes the first field off b. A group, which no type here has, is
// skipped.
func next(b []byte) (p part, rest []byte, err error) {
	var n int
	if p.number, p.wire, n = protowire.ConsumeTag(b); n < 0 {
		return p, nil, protowire.ParseError(n)
	}
	if p.number > protowire.MaxValidNumber {
		return p, nil, errNumber
	}
	b = b[n:]
	switch p.wire {
	case protowire.VarintType, protowire.Fixed32Type, protowire.Fixed64Type:
		p.bits, n = consumeNumber(b, p.wire)
	case protowire.BytesType:
		p.body, n = protowire.ConsumeBytes(b)
	default:
		n = protowire.ConsumeFieldValue(p.number, p.wire, b)
	}
	if n < 0 {
		return p, nil, protowire.ParseError(n)
	}
	return p, b[n:], nil
}

// pending is what is kept of a field until its message ends: the bodies of a
// message that came in parts, which together are its body, or the number of
// items that an array has.
type pending struct {
	body  []byte
	items int
}

// decode sets the fields of v, which is zero.
func (s *structure) decode(d *decoder, v reflect.Value, body []byte) error {
	if d.depth++; d.depth > maxDepth {
		return errDepth
	}
	defer func() { d.depth-- }()
	var few [4]pending
	kept := few[:min(s.slots, len(few))]
	if s.slots > len(few) {
		kept = make([]pending, s.slots)
	}
	for len(body) > 0 {
		part, rest, err := next(body)
		if err != nil {
			return err
		}
		body = rest
		f := s.byTag(part.number)
		switch {
		case f == nil || !f.takes(part.wire):
		case f.slot >= 0 && f.shape == single:
			err = keep(d, &kept[f.slot], part.body)
		default:
			err = f.decode(d, v, kept, part)
		}
		if err != nil {
			return within(f.name, err)
		}
	}
	for _, f := range s.fields {
		if f.slot < 0 || f.shape != single || kept[f.slot].body == nil {
			continue
		}
		if err := f.set(d, v, kept[f.slot].body); err != nil {
			return within(f.name, err)
		}
	}
	return nil
}

// keep adds a part of a message to those before it.
func keep(d *decoder, p *pending, part []byte) error {
	if p.body == nil {
		p.body = part[:len(part):len(part)] // others are appended to a copy
		return nil
	}
	if len(p.body)+len(part) > cap(p.body) {
		if err := d.spend(uintptr(len(p.body) + len(part))); err != nil {
			return err
		}
	}
	p.body = append(p.body, part...)
	return nil
}

// takes reports whether the field can be sent with that wire type; one that
// cannot is another field of the same number, and ignored like any other that
// is not known.
func (f *field) takes(wire protowire.Type) bool {
	switch f.shape {
	case mapping:
		return wire == protowire.BytesType
	case list, array:
		return wire == f.element.wire || wire == protowire.BytesType && f.element.isNumber()
	default:
		return wire == f.element.wire
	}
}

// reach returns the field of v, and makes what is missing on the way.
func (f *field) reach(d *decoder, v reflect.Value) (reflect.Value, error) {
	if len(f.index) == 1 {
		return v.Field(f.index[0]), nil
	}
	for i, at := range f.index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if err := d.makePointer(v); err != nil {
				return v, err
			}
			v = v.Elem()
		}
		v = v.Field(at)
	}
	return v, nil
}

// makePointer has v point at something.
func (d *decoder) makePointer(v reflect.Value) error {
	if !v.IsNil() {
		return nil
	}
	if err := d.spend(v.Type().Elem().Size()); err != nil {
		return err
	}
	v.Set(reflect.New(v.Type().Elem()))
	return nil
}

// set sets a single message.
func (f *field) set(d *decoder, v reflect.Value, body []byte) error {
	v, err := f.reach(d, v)
	if err != nil {
		return err
	}
	if f.pointer {
		if err := d.makePointer(v); err != nil {
			return err
		}
		v = v.Elem()
	}
	return f.element.setBody(d, v, body)
}

func (f *field) decode(d *decoder, v reflect.Value, kept []pending, p part) error {
	v, err := f.reach(d, v)
	if err != nil {
		return err
	}
	switch f.shape {
	case list, array:
		var items *int
		if f.shape == array {
			items = &kept[f.slot].items
		}
		if f.element.isNumber() && p.wire == protowire.BytesType {
			return f.decodePacked(d, v, items, p.body)
		}
		return f.decodeItem(d, v, items, p)
	case mapping:
		return f.decodeEntry(d, v, p.body)
	}
	if f.pointer {
		if err := d.makePointer(v); err != nil {
			return err
		}
		v = v.Elem()
	}
	return f.element.set(d, v, p)
}

func (e *element) set(d *decoder, v reflect.Value, p part) error {
	if e.isNumber() {
		return e.setBits(v, p.bits)
	}
	return e.setBody(d, v, p.body)
}

// decodePacked decodes the numbers of one field that has them all.
func (f *field) decodePacked(d *decoder, v reflect.Value, items *int, body []byte) error {
	if f.shape == list {
		if err := d.grow(v, countNumbers(f.element.wire, body)); err != nil {
			return err
		}
	}
	for len(body) > 0 {
		bits, n := consumeNumber(body, f.element.wire)
		if n < 0 {
			return protowire.ParseError(n)
		}
		body = body[n:]
		if err := f.decodeItem(d, v, items, part{bits: bits}); err != nil {
			return err
		}
	}
	return nil
}

// countNumbers returns how many numbers a packed field has.
func countNumbers(wire protowire.Type, body []byte) int {
	switch wire {
	case protowire.Fixed32Type:
		return len(body) / 4
	case protowire.Fixed64Type:
		return len(body) / 8
	}
	n := 0
	for _, c := range body {
		if c < 0x80 { // the last byte of a varint
			n++
		}
	}
	return n
}

// grow makes room for n more items.
func (d *decoder) grow(v reflect.Value, n int) error {
	before := v.Cap()
	if v.Len()+n <= before {
		return nil
	}
	// At least what it will take; how much more depends on the allocator.
	if err := d.spend(uintptr(n) * v.Type().Elem().Size()); err != nil {
		return err
	}
	v.Grow(n)
	if extra := v.Cap() - before - n; extra > 0 {
		return d.spend(uintptr(extra) * v.Type().Elem().Size())
	}
	return nil
}

// decodeItem appends an item to a list, or sets the next of an array; those
// that an array has no room for are ignored, as in encoding/json.
func (f *field) decodeItem(d *decoder, v reflect.Value, items *int, p part) error {
	n := 0
	if f.shape == array {
		if n = *items; n >= v.Len() {
			return nil
		}
		*items++
	} else {
		n = v.Len()
		if err := d.grow(v, 1); err != nil {
			return err
		}
		v.SetLen(n + 1)
	}
	item := v.Index(n)
	if f.pointer {
		if err := d.makePointer(item); err != nil {
			return err
		}
		item = item.Elem()
	}
	if err := f.element.set(d, item, p); err != nil {
		return within(fmt.Sprintf("[%d]", n), err)
	}
	return nil
}

func (f *field) decodeEntry(d *decoder, v reflect.Value, body []byte) error {
	key, value := reflect.New(f.typ.Key()).Elem(), reflect.New(f.typ.Elem()).Elem()
	if err := d.spend(f.typ.Key().Size() + f.typ.Elem().Size() + entryOverhead); err != nil {
		return err
	}
	item := value
	if f.pointer {
		if err := d.makePointer(value); err != nil {
			return err
		}
		item = value.Elem()
	}
	var message pending
	for len(body) > 0 {
		part, rest, err := next(body)
		if err != nil {
			return err
		}
		body = rest
		e, into := f.key, key
		if part.number == valueNumber {
			e, into = f.element, item
		}
		switch {
		case part.number != keyNumber && part.number != valueNumber || part.wire != e.wire:
		case e.isMessage():
			err = keep(d, &message, part.body)
		default:
			err = e.set(d, into, part)
		}
		if err != nil {
			return within(keyPath(key), err)
		}
	}
	if message.body != nil {
		if err := f.element.setBody(d, item, message.body); err != nil {
			return within(keyPath(key), err)
		}
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(f.typ))
	}
	v.SetMapIndex(key, value)
	return nil
}
