package rpc_test

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/xinhari/xinhari/pkg/rpc"
)

func TestLoopbackOnlyRefusesWhatAWebPageCanSend(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{LoopbackOnly: true}, nil)
	port := strconv.Itoa(int(s.addr.Port()))
	for _, c := range []struct {
		name       string
		path, body string // "" is a call of Echo/Echo with {}
		headers    []string
		want       int
	}{
		{name: "curl", want: 200},
		{name: "curl to localhost", headers: []string{"Host: localhost:" + port}, want: 200},
		{name: "curl to the IPv6 loopback", headers: []string{"Host: [::1]:" + port}, want: 200},
		{name: "a page of the server itself", headers: []string{"Origin: http://" + s.addr.String(), "Sec-Fetch-Site: same-origin"}, want: 200},
		{name: "typed into the browser", headers: []string{"Sec-Fetch-Site: none"}, want: 200},

		{name: "DNS rebinding", headers: []string{"Host: evil.example:" + port}, want: 403},
		{name: "DNS rebinding by a name below localhost", headers: []string{"Host: localhost.evil.example"}, want: 403},
		{name: "DNS rebinding by a public name of 127.0.0.1", headers: []string{"Host: 127.0.0.1.nip.io"}, want: 403},
		{name: "another address", headers: []string{"Host: 192.0.2.1"}, want: 403},
		{name: "cross-site fetch", headers: []string{"Origin: https://evil.example"}, want: 403},
		{name: "sandboxed frame", headers: []string{"Origin: null"}, want: 403},
		{name: "a page of another local server", headers: []string{"Origin: http://localhost:3000"}, want: 403},
		{name: "the same origin by another scheme", headers: []string{"Origin: https://" + s.addr.String()}, want: 403},
		{name: "cross-site by fetch metadata alone", headers: []string{"Sec-Fetch-Site: cross-site"}, want: 403},
		{name: "same-site by fetch metadata alone", headers: []string{"Sec-Fetch-Site: same-site"}, want: 403},
		{name: "a proxy's Forwarded", headers: []string{"Forwarded: for=192.0.2.1"}, want: 403},
		{name: "a proxy's X-Forwarded-For", headers: []string{"X-Forwarded-For: 192.0.2.1"}, want: 403},
		{name: "a proxy's X-Forwarded-Host", headers: []string{"X-Forwarded-Host: evil.example"}, want: 403},
		{name: "a proxy's X-Real-IP", headers: []string{"X-Real-IP: 192.0.2.1"}, want: 403},
		{name: "a proxy's X-Original-Host", headers: []string{"X-Original-Host: evil.example"}, want: 403},
		{name: "a proxy's X-Client-IP", headers: []string{"X-Client-IP: 192.0.2.1"}, want: 403},
		{name: "a proxy's X-Cluster-Client-IP", headers: []string{"X-Cluster-Client-IP: 192.0.2.1"}, want: 403},
		{name: "a proxy's X-Envoy-External-Address", headers: []string{"X-Envoy-External-Address: 192.0.2.1"}, want: 403},
		{name: "a proxy's True-Client-IP", headers: []string{"True-Client-IP: 192.0.2.1"}, want: 403},
		{name: "a proxy's CF-Connecting-IP", headers: []string{"CF-Connecting-IP: 192.0.2.1"}, want: 403},
		{name: "a proxy's Fastly-Client-IP", headers: []string{"Fastly-Client-IP: 192.0.2.1"}, want: 403},
		{name: "a proxy's CDN-Loop", headers: []string{"CDN-Loop: cdn.example"}, want: 403},
		{name: "a proxy's Via", headers: []string{"Via: 1.1 proxy"}, want: 403},
		{name: "a form", headers: []string{"Content-Type: application/x-www-form-urlencoded"}, want: 415},
		{name: "a form with a file", headers: []string{"Content-Type: multipart/form-data; boundary=x"}, want: 415},
		{name: "a form as plain text", headers: []string{"Content-Type: text/plain"}, want: 415},
		{name: "a content type that only looks like JSON", headers: []string{"Content-Type: text/plain; application/json"}, want: 415},
		{name: "JSON in another charset", headers: []string{"Content-Type: application/json; charset=latin1"}, want: 415},
		{name: "JSON with another parameter", headers: []string{"Content-Type: application/json; profile=x"}, want: 415},
		{name: "a form to a stream", path: duplexCall, headers: []string{"Content-Type: text/plain"}, want: 415},
		{name: "protobuf, which no page sends without asking", path: "/grpc.testing.TestService/UnaryCall", body: "\n\x00", headers: []string{"Content-Type: application/proto"}, want: 200},
		{name: "a cross-site stream", path: outputCall, headers: []string{"Content-Type: application/connect+json", "Origin: https://evil.example"}, want: 403},
		{name: "a cross-site stream of protobuf, by fetch metadata alone", path: outputCall, headers: []string{"Content-Type: application/connect+proto", "Sec-Fetch-Site: cross-site"}, want: 403},
		{name: "protobuf by DNS rebinding", path: "/grpc.testing.TestService/UnaryCall", headers: []string{"Content-Type: application/proto", "Host: evil.example"}, want: 403},
		{name: "a stream that only looks like one", path: outputCall, headers: []string{"Content-Type: text/plain; application/connect+json"}, want: 415},
		{name: "a stream with a parameter", path: outputCall, headers: []string{"Content-Type: application/connect+proto; x=y"}, want: 415},
		{name: "a content type list", headers: []string{"Content-Type: text/plain, application/json"}, want: 415},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, body := post(t, s.addr, cmp.Or(c.path, "/Echo/Echo"), cmp.Or(c.body, `{}`), c.headers...); code != c.want {
				t.Errorf("got %d %s, want %d", code, body, c.want)
			}
		})
	}
	t.Run("a preflight gets no permission", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://"+s.addr.String()+"/Echo/Echo", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://evil.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode < 400 {
			t.Errorf("got %s", response.Status)
		}
		for name := range response.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("the answer has %s", name)
			}
		}
	})
	t.Run("gRPC clients of this machine are served", func(t *testing.T) {
		if _, err := rpc.Call[echoRequest](t.Context(), foreignConn(t, s.addr), "Echo/Echo", &echoRequest{}); err != nil {
			t.Error(err)
		}
	})
}
