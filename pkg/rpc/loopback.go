package rpc

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc/internal/connect"
)

// A server on a laptop must be open, without a certificate, to curl and
// grpcurl of the same machine and to nothing else: above all to no web page that the user's
// browser shows. A page can make a browser send requests to 127.0.0.1 (cross
// site), or point a name of its own at it (DNS rebinding). Each check below
// stops one of these ways; a request passes when all agree.

// anonymousLoopback wraps next with the checks, for requests that no
// certificate vouches for.
func anonymousLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !identified(r) {
			if why := foreignRequest(r); why != "" {
				connect.Refuse(w, r, status.New(codes.PermissionDenied, why))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// identified reports whether the request's connection proved who made it.
func identified(r *http.Request) bool {
	l, ok := r.Context().Value(linkKey{}).(*link)
	if !ok {
		return false
	}
	p, ok := identity.PeerOf(l.info)
	return ok && !p.Anonymous
}

// forwarded returns a header that only proxies set, if h has one: what comes
// through a proxy may come from anywhere, whatever address it has here.
func forwarded(h http.Header) string {
	for name := range h {
		if strings.HasPrefix(name, "X-Forwarded") {
			return name
		}
	}
	for _, name := range []string{
		"Forwarded", "Via", "X-Original-Host", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Envoy-External-Address",
		"True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "Cdn-Loop",
	} {
		if _, ok := h[name]; ok {
			return name
		}
	}
	return ""
}

// foreignRequest says why r may not have been made on purpose by a program of
// this machine; "" if nothing speaks against it.
func foreignRequest(r *http.Request) string {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !peer.Addr().Unmap().IsLoopback() {
		return "without a certificate only this machine is served"
	}
	if !localHost(r.Host) {
		return "the Host header names another machine: use localhost or 127.0.0.1"
	}
	if name := forwarded(r.Header); name != "" {
		return "the request came through a proxy (" + name + ")"
	}
	if sites, ok := r.Header["Sec-Fetch-Site"]; ok {
		for _, site := range sites {
			if site != "same-origin" && site != "none" {
				return "the request was made by a page of another site (Sec-Fetch-Site)"
			}
		}
	}
	if origins, ok := r.Header["Origin"]; ok {
		for _, origin := range origins {
			if u, err := url.Parse(origin); err != nil || u.Scheme != "http" || u.Host != r.Host {
				return "the request was made by a page of another site (Origin)"
			}
		}
	}
	return ""
}

// localHost reports whether the Host header is one that only this machine
// resolves to itself: localhost or an address of the loopback network.
func localHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
