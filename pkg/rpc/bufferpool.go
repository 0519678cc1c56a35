package rpc

import (
	"math/bits"
	"sync"
)

// bufferPool is a mem.BufferPool of sizes that are powers of two. grpc-go's own
// knows nothing between 32 KiB and 1 MiB, and zeroes all of what it gives: a
// message of 64 KiB would cost the zeroing of 1 MiB. Nobody reads more of a
// buffer of this pool than was written to it.
type bufferPool struct {
	sizes [maxPooledBits - minPooledBits + 1]sync.Pool
}

const (
	minPooledBits = 11 // 2 KiB: less is not worth it, says mem.NewBuffer
	maxPooledBits = 22 // 4 MiB, the limit of a message where none is set
)

// buffers are for encoded messages on their way to grpc-go and from it.
//
//nolint:gochecknoglobals // a pool holds no state
var buffers bufferPool

// Get implements mem.BufferPool.
func (p *bufferPool) Get(length int) *[]byte {
	exponent := max(bits.Len(uint(max(length, 1)-1)), minPooledBits)
	if exponent > maxPooledBits {
		data := make([]byte, length)
		return &data
	}
	data, ok := p.sizes[exponent-minPooledBits].Get().(*[]byte)
	if !ok {
		data = new([]byte)
		*data = make([]byte, 1<<exponent)
	}
	*data = (*data)[:length]
	return data
}

// Put implements mem.BufferPool.
func (p *bufferPool) Put(data *[]byte) {
	exponent := bits.Len(uint(cap(*data))) - 1
	if exponent < minPooledBits || exponent > maxPooledBits || cap(*data) != 1<<exponent {
		return
	}
	p.sizes[exponent-minPooledBits].Put(data)
}
