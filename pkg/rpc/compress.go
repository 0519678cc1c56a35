package rpc

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Compressors, unlike codecs, are in grpc-go's global registry: its transports
// look there, and tell the other side with each call of what is in it, which
// costs a call some 5 % of its time. So a program that wants one imports it.

// gzipName is the compressor that everybody knows.
const gzipName = "gzip"

// howToKnow says how a program gets to know gzip.
const howToKnow = `a program knows gzip that has the line import _ "google.golang.org/grpc/encoding/gzip"`

// compressors are the names of those that are known here, of the usual ones:
// the registry has no list.
func compressors() []string {
	names := []string{encoding.Identity}
	for _, name := range []string{gzipName, "deflate", "snappy", "zstd"} {
		if encoding.GetCompressor(name) != nil {
			names = append(names, name)
		}
	}
	return names
}

// known lists the compressors for people.
func known() string {
	list := strings.Join(compressors(), ", ")
	if encoding.GetCompressor(gzipName) == nil {
		list += " (" + howToKnow + ")"
	}
	return list
}

func knownCompressor(name string) bool {
	return name == "" || name == encoding.Identity || encoding.GetCompressor(name) != nil
}

// checkCompressor returns what is wrong with the option Compressor.
func checkCompressor(name string) error {
	if !knownCompressor(name) {
		return fmt.Errorf("rpc: compressor %q is not known: %s; others are registered with grpc-go's package encoding", name, howToKnow)
	}
	return nil
}

// unknownCompressor returns the error of a call that asks for compression that
// there is not: grpc-go would call it Internal.
func unknownCompressor(opts []grpc.CallOption) error {
	for _, o := range opts {
		if c, ok := o.(grpc.CompressorCallOption); ok && !knownCompressor(c.CompressorType) {
			return status.Errorf(codes.Unimplemented, "compression %q is not known here; known: %s", c.CompressorType, known())
		}
	}
	return nil
}

// refuseCompression answers a gRPC request that came through net/http and is
// compressed by what there is not, with the list that grpc-go's answer lacks
// (https://github.com/grpc/grpc/blob/master/doc/compression.md). Our own
// clients, which do not come so, say it themselves.
func refuseCompression(w http.ResponseWriter, r *http.Request) bool {
	name := r.Header.Get("Grpc-Encoding")
	if knownCompressor(name) {
		return false
	}
	message := fmt.Sprintf("compression %+q is not known here; known: %s", name, known())
	h := w.Header()
	h.Set("Content-Type", r.Header.Get("Content-Type"))
	h.Set("Grpc-Accept-Encoding", strings.Join(compressors(), ","))
	h.Set("Grpc-Status", strconv.Itoa(int(codes.Unimplemented)))
	h.Set("Grpc-Message", strings.ReplaceAll(message, "%", "%25"))
	w.WriteHeader(http.StatusOK)
	return true
}

// compressRequests are the client options for requests compressed by name.
// Without a name there are none: a default option costs calls with options of
// their own an allocation.
func compressRequests(name string) []grpc.DialOption {
	if name == "" {
		return nil
	}
	return []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.UseCompressor(name))}
}

// compressAnswers are the server options for answers compressed by name where
// the caller takes that. Without a name there are none, and a call costs nothing.
func compressAnswers(name string) []grpc.ServerOption {
	if name == "" {
		return nil
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			compressAnswer(ctx, name)
			return handler(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			compressAnswer(s.Context(), name)
			return handler(srv, s)
		}),
	}
}

// compressAnswer sets the compression of a call's answers. It does by hand what
// grpc.SetSendCompressor does, which does not know what callers that came
// through net/http take.
func compressAnswer(ctx context.Context, name string) {
	stream, ok := grpc.ServerTransportStreamFromContext(ctx).(interface {
		ClientAdvertisedCompressors() []string
		SetSendCompress(string) error
	})
	if !ok {
		return
	}
	taken := slices.Contains(stream.ClientAdvertisedCompressors(), name) ||
		slices.ContainsFunc(metadata.ValueFromIncomingContext(ctx, "grpc-accept-encoding"), func(list string) bool {
			return slices.ContainsFunc(strings.Split(list, ","), func(n string) bool { return strings.TrimSpace(n) == name })
		})
	if taken {
		// It fails once an answer was sent, when it is too late to choose.
		_ = stream.SetSendCompress(name)
	}
}
