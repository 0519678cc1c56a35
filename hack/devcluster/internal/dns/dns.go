// Package dns is the DNS server of a cluster: names of Services and of their
// endpoints, from watched objects, as https://github.com/kubernetes/dns/blob/master/docs/specification.md
// has them, without PTR records. It answers A, AAAA, SRV and CNAME for names of
// the cluster, and NXDOMAIN for all others: a cluster here has no way out.
package dns

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

// ttl is short: tests change things and look.
const ttl = 5 // seconds

// Options say where a server listens and what it knows. All are required.
type Options struct {
	Addr     netip.AddrPort // UDP and TCP
	Domain   string         // of the cluster, as cluster.local
	Services corelisters.ServiceLister
	Slices   discoverylisters.EndpointSliceLister
	Logger   *slog.Logger
}

// Server answers queries.
type Server struct {
	o    Options
	zone string // the domain with dots on both sides
}

// New returns a server that does not listen yet.
func New(o Options) *Server {
	return &Server{o: o, zone: "." + dns.Fqdn(strings.ToLower(o.Domain))}
}

// Run answers until ctx ends. An address that cannot be listened on is an error.
func (s *Server) Run(ctx context.Context) error {
	addr := s.o.Addr.String()
	packets, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	defer packets.Close()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	ended := make(chan error, 2)
	for _, server := range []*dns.Server{
		{PacketConn: packets, Handler: s},
		{Listener: listener, Handler: s},
	} {
		go func() { ended <- server.ActivateAndServe() }()
	}
	select {
	case <-ctx.Done():
		err = nil
	case err = <-ended:
		ended <- nil
	}
	packets.Close()
	listener.Close()
	<-ended
	<-ended
	return err
}

// ServeDNS answers one query.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	answer := s.answer(query)
	size := dns.MaxMsgSize
	if w.RemoteAddr().Network() == "udp" {
		size = dns.MinMsgSize
		if o := query.IsEdns0(); o != nil {
			size = max(size, int(o.UDPSize()))
		}
	}
	answer.Truncate(size)
	if err := w.WriteMsg(answer); err != nil {
		s.o.Logger.Warn("answer not sent", "client", w.RemoteAddr().String(), "error", err)
	}
}

func (s *Server) answer(query *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(query)
	m.Compress = true
	m.Authoritative = true
	m.RecursionAvailable = true // without it some resolvers complain
	if o := query.IsEdns0(); o != nil {
		m.SetEdns0(o.UDPSize(), false)
	}
	if query.Opcode != dns.OpcodeQuery || len(query.Question) != 1 {
		return m.SetRcode(query, dns.RcodeNotImplemented)
	}
	q := query.Question[0]
	found, exists := s.lookup(strings.ToLower(q.Name))
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	m.Answer, m.Extra = found.records(q), append(m.Extra, found.additional(q)...)
	if found.alias != "" {
		// Resolvers expect the rest with the alias; an alias of an alias is theirs to follow.
		next := q
		next.Name = found.alias
		if found, _ = s.lookup(strings.ToLower(next.Name)); found.alias == "" {
			m.Answer = append(m.Answer, found.records(next)...)
		}
	}
	if len(m.Answer) == 0 {
		// Says for how long the absence may be remembered.
		m.Ns = []dns.RR{s.authority()}
	}
	return m
}

func (s *Server) authority() dns.RR {
	zone := s.zone[1:]
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns.dns." + zone, Mbox: "hostmaster." + zone,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}

// records are the answers to a question.
func (f findings) records(q dns.Question) []dns.RR {
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
	var list []dns.RR
	if f.alias != "" {
		header.Rrtype = dns.TypeCNAME
		return []dns.RR{&dns.CNAME{Hdr: header, Target: f.alias}}
	}
	if q.Qtype == dns.TypeSRV {
		for _, t := range f.targets {
			list = append(list, &dns.SRV{Hdr: header, Priority: 0, Weight: 100, Port: t.port, Target: t.name})
		}
	} else {
		for _, addr := range f.addrs {
			if rr := address(header, addr); rr.Header().Rrtype == q.Qtype {
				list = append(list, rr)
			}
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// additional are the addresses of the names in the answers to an SRV question.
func (f findings) additional(q dns.Question) []dns.RR {
	if q.Qtype != dns.TypeSRV {
		return nil
	}
	var list []dns.RR
	seen := make(map[string]bool)
	for _, t := range f.targets {
		for _, addr := range t.addrs {
			key := fmt.Sprint(t.name, addr)
			if !seen[key] {
				seen[key] = true
				list = append(list, address(dns.RR_Header{Name: t.name, Class: dns.ClassINET, Ttl: ttl}, addr))
			}
		}
	}
	return list
}

func address(header dns.RR_Header, addr netip.Addr) dns.RR {
	if addr.Is4() {
		header.Rrtype = dns.TypeA
		return &dns.A{Hdr: header, A: addr.AsSlice()}
	}
	header.Rrtype = dns.TypeAAAA
	return &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()}
}
