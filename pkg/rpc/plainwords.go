package rpc

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// plainWords returns st with what grpc-go says of limits and compression in
// words that name the option to set. The same words come from this side and
// from the other, so they say which option is whose.
func plainWords(st *status.Status) *status.Status {
	code, message := restate(st.Code(), st.Message())
	if message == "" {
		return st
	}
	p := st.Proto()
	p.Code, p.Message = int32(code), message
	return status.FromProto(p)
}

// restate returns the code and words that take the place of grpc-go's, or no
// words where its own are good.
func restate(code codes.Code, message string) (codes.Code, string) {
	const ( // grpc-go's words
		received     = "grpc: received message larger than max (%d vs. %d)"
		decompressed = "grpc: received message after decompression larger than max %d"
		sending      = "trying to send message larger than max (%d vs. %d)"
		compressed   = "grpc: Decompressor is not installed for grpc-encoding %q"
		headers      = "header list size to send violates the maximum size (%d bytes) set by server"
		answered     = "peer header list size exceeded limit"
	)
	const (
		receiver = "its receiver takes: ServerOptions.MaxMessage is the limit of requests, ConnOptions.MaxMessage that of answers"
		sender   = "its sender may send: ConnOptions.MaxSendMessage is the limit of requests, ServerOptions.MaxSendMessage that of answers"
	)
	var size, limit int64
	var name string
	said := func(format string, values ...any) bool { return fmt.Sprintf(format, values...) == message }
	scan := func(format string, to ...any) bool {
		_, err := fmt.Sscanf(message, format, to...)
		return err == nil
	}
	switch {
	case code == codes.ResourceExhausted && scan(received, &size, &limit) && said(received, size, limit):
		return code, fmt.Sprintf("a message has %d bytes, more than the %d that %s", size, limit, receiver)
	case code == codes.ResourceExhausted && scan(decompressed, &limit) && said(decompressed, limit):
		return code, fmt.Sprintf("a message has, once decompressed, more than the %d bytes that %s", limit, receiver)
	case code == codes.ResourceExhausted && scan(sending, &size, &limit) && said(sending, size, limit):
		return code, fmt.Sprintf("a message has %d bytes, more than the %d that %s", size, limit, sender)
	case code == codes.Unimplemented && scan(compressed, &name) && said(compressed, name):
		return code, fmt.Sprintf("compression %q is not known to the server; %s", name, howToKnow)
	case code == codes.Internal && scan(headers, &limit) && said(headers, limit):
		return codes.ResourceExhausted, fmt.Sprintf("the call's metadata is larger than the %d bytes that the server takes: ServerOptions.MaxHeaderBytes is the limit", limit)
	case code == codes.Internal && said(answered):
		return codes.ResourceExhausted, "the answer's metadata is larger than this client takes: ConnOptions.MaxHeaderBytes is the limit"
	}
	return code, ""
}
