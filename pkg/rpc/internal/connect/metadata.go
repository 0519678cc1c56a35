package connect

import (
	"net/http"
	"strings"
)

// callHeader returns the headers of a request that are metadata of its call.
func callHeader(from http.Header) http.Header {
	to := make(http.Header, len(from)+4)
	for name, values := range from {
		switch {
		case ofRequest(name):
		case strings.HasSuffix(name, "-Bin"):
			to[name] = splitBinary(values)
		default:
			to[name] = values
		}
	}
	return to
}

// ofRequest reports whether a request's header is the protocol's business, and
// nothing that a handler should see.
func ofRequest(name string) bool {
	switch name {
	case "Accept-Encoding", "Accept-Post", "Content-Encoding", "Content-Length", "Content-Type", "Expect",
		"Grpc-Accept-Encoding", "Grpc-Encoding", "Grpc-Message", "Grpc-Message-Type", "Grpc-Status", "Grpc-Status-Details-Bin", "Grpc-Timeout":
		return true
	}
	return strings.HasPrefix(name, "Connect-") || ofConnection(name)
}

// ofAnswer reports whether a header of grpc-go's answer, or metadata that a
// handler set, must not be a header here: it would be taken for the protocol's.
func ofAnswer(name string) bool {
	switch name {
	case "Accept-Post", "Allow", "Content-Encoding", "Content-Length", "Content-Type", "Date", "Host", "Vary", "X-Content-Type-Options",
		"Grpc-Accept-Encoding", "Grpc-Encoding", "Grpc-Message", "Grpc-Status", "Grpc-Status-Details-Bin":
		return true
	}
	return strings.HasPrefix(name, "Connect-") || strings.HasPrefix(name, http.TrailerPrefix) || ofConnection(name)
}

// ofConnection reports whether a header belongs to one connection alone
// (https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1).
func ofConnection(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// splitBinary takes apart binary values that were joined by commas, as proxies
// may: grpc-go would refuse them.
func splitBinary(values []string) []string {
	var all []string
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			all = append(all, strings.TrimSpace(part))
		}
	}
	return all
}

// leading are the headers that an answer begins with.
func leading(from http.Header) http.Header {
	to := make(http.Header, len(from))
	for name, values := range from {
		if !ofAnswer(name) {
			to[name] = append([]string(nil), values...)
		}
	}
	return to
}

// trailing are the trailers that grpc-go left in a header, by their names in
// lower case.
func trailing(from http.Header) map[string][]string {
	to := map[string][]string{}
	for prefixed, values := range from {
		name, ok := strings.CutPrefix(prefixed, http.TrailerPrefix)
		if ok && !strings.HasPrefix(name, "grpc-status") && name != "grpc-message" {
			to[name] = values
		}
	}
	return to
}
