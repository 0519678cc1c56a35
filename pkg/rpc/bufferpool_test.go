package rpc

import (
	"testing"
)

func TestBuffersHaveRoom(t *testing.T) {
	var p bufferPool
	for _, c := range []struct{ length, capacity int }{
		{0, 2 << 10}, {1, 2 << 10}, {2 << 10, 2 << 10}, {2<<10 + 1, 4 << 10}, {64 << 10, 64 << 10}, {64<<10 + 1, 128 << 10},
		{4 << 20, 4 << 20}, {4<<20 + 1, -1},
	} {
		for range 3 { // the second and third may have been there before
			data := p.Get(c.length)
			if len(*data) != c.length || c.capacity >= 0 && cap(*data) != c.capacity {
				t.Errorf("%d bytes: got %d of %d, want %d", c.length, len(*data), cap(*data), c.capacity)
			}
			*data = (*data)[:c.length/2] // as grpc-go may hand it back
			p.Put(data)
		}
	}
	for _, strange := range [][]byte{nil, make([]byte, 10), make([]byte, 3000, 5000), make([]byte, 5<<20)} {
		p.Put(&strange)
	}
	for _, length := range []int{1, 3000, 4096, 5000, 4 << 20} {
		if data := p.Get(length); len(*data) != length || cap(*data) < length || cap(*data)&(cap(*data)-1) != 0 {
			t.Errorf("after strange ones: %d bytes: got %d of %d", length, len(*data), cap(*data))
		}
	}
}
