package connect

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	encodingGzip     = "gzip"
	encodingIdentity = "identity"
	encodings        = encodingGzip // what is offered beside identity

	// compressFrom is the size from which an answer is worth compressing: a
	// smaller one fits a packet as it is.
	compressFrom = 1 << 10
)

// compression recycles gzip's state, some hundred kilobytes each.
type compression struct{ readers, writers sync.Pool }

// known returns whether what a client sends is compressed, by the name it
// gives.
func known(encoding string) (compressed bool, refused *status.Status) {
	switch encoding {
	case "", encodingIdentity:
		return false, nil
	case encodingGzip:
		return true, nil
	}
	return false, status.Newf(codes.Unimplemented, "the compression %q is not known here; known: %s, %s", encoding, encodingGzip, encodingIdentity)
}

// accepts reports whether a client takes gzip, by the values of
// Accept-Encoding or Connect-Accept-Encoding.
func accepts(values []string) bool {
	for _, v := range values {
		for offer := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(offer, ";")
			if strings.TrimSpace(name) != encodingGzip {
				continue
			}
			q, weighted := strings.CutPrefix(strings.TrimSpace(params), "q=")
			weight, err := strconv.ParseFloat(q, 64)
			return !weighted || err == nil && weight > 0
		}
	}
	return false
}

// decompress returns what was compressed, of at most limit bytes.
func (c *compression) decompress(data []byte, limit int) ([]byte, *status.Status) {
	if len(data) == 0 {
		return nil, nil // connect-go sends empty messages so
	}
	z, ok := c.readers.Get().(*gzip.Reader)
	if !ok {
		z = new(gzip.Reader)
	}
	defer c.readers.Put(z)
	err := z.Reset(bytes.NewReader(data))
	var out bytes.Buffer
	if err == nil {
		_, err = io.CopyN(&out, z, int64(limit)+1)
	}
	switch {
	case err == nil:
		return nil, tooLarge(limit)
	case !errors.Is(err, io.EOF):
		return nil, status.New(codes.InvalidArgument, fmt.Sprintf("the message is not valid gzip: %v", err))
	}
	return out.Bytes(), nil
}

// compress appends data in compressed form to out.
func (c *compression) compress(out *bytes.Buffer, data []byte) error {
	z, ok := c.writers.Get().(*gzip.Writer)
	if !ok {
		z = gzip.NewWriter(out)
	} else {
		z.Reset(out)
	}
	defer c.writers.Put(z)
	if _, err := z.Write(data); err != nil {
		return err
	}
	return z.Close()
}

func tooLarge(limit int) *status.Status {
	return status.Newf(codes.ResourceExhausted, "the request is larger than %d bytes, the most that ServerOptions.MaxMessage allows", limit)
}
