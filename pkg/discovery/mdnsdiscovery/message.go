package mdnsdiscovery

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/xinhari/xinhari/pkg/discovery"
)

// serviceType is our DNS-SD service type. It is not registered with IANA; it
// does not leave the machine unless someone names another interface.
const serviceType = "_xinhari._tcp.local."

// cacheFlush is the bit of a record's class that says: forget others of this
// name (RFC 6762 section 10.2).
const cacheFlush = 1 << 15

// Keys of the TXT record (RFC 6763 section 6).
const (
	txtName      = "name"
	txtNamespace = "namespace"
	txtVersion   = "version"
	txtTrust     = "trust"
)

// record is all that an instance tells of itself.
type record struct {
	instance string // the label before the service type
	service  discovery.Service
	version  string
	trust    string // of whom the instance trusts, "" = it does not say
	port     uint16
	addrs    []netip.Addr
}

// message is a parsed datagram: queries' questions and answers' records.
type message struct {
	questions []dnsmessage.Question
	records   []found
}

// found is an instance as an answer tells of it.
type found struct {
	record
	ttl time.Duration // 0 = goodbye
}

// asks reports whether the message asks for our service type or instance.
func (m message) asks(instance string) bool {
	for _, q := range m.questions {
		name := strings.ToLower(q.Name.String())
		if name == serviceType || name == strings.ToLower(instance)+"."+serviceType {
			return true
		}
	}
	return false
}

func browseQuery() ([]byte, error) {
	name, err := dnsmessage.NewName(serviceType)
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}}}
	return m.Pack()
}

// announcement is the unsolicited response, and the answer to every query,
// that tells all there is to tell. A ttl of 0 is the goodbye.
func (r record) announcement(ttl time.Duration) ([]byte, error) {
	service, err := dnsmessage.NewName(serviceType)
	if err != nil {
		return nil, err
	}
	instance, err := dnsmessage.NewName(r.instance + "." + serviceType)
	if err != nil {
		return nil, err
	}
	host, err := dnsmessage.NewName(r.instance + ".local.")
	if err != nil {
		return nil, err
	}
	seconds := uint32(ttl / time.Second)
	header := func(name dnsmessage.Name, flush dnsmessage.Class) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET | flush, TTL: seconds}
	}
	txt := []string{txtName + "=" + r.service.Name, txtNamespace + "=" + r.service.Namespace}
	if r.version != "" {
		txt = append(txt, txtVersion+"="+r.version)
	}
	if r.trust != "" {
		txt = append(txt, txtTrust+"="+r.trust)
	}
	m := dnsmessage.Message{
		Header: dnsmessage.Header{Response: true, Authoritative: true},
		Answers: []dnsmessage.Resource{
			{Header: header(service, 0), Body: &dnsmessage.PTRResource{PTR: instance}},
			{Header: header(instance, cacheFlush), Body: &dnsmessage.SRVResource{Port: r.port, Target: host}},
			{Header: header(instance, cacheFlush), Body: &dnsmessage.TXTResource{TXT: txt}},
		},
	}
	for _, a := range r.addrs {
		if a.Is4() {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header(host, cacheFlush), Body: &dnsmessage.AResource{A: a.As4()}})
		} else {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header(host, cacheFlush), Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m.Pack()
}

var errTruncated = errors.New("mDNS: the message is truncated")

// parse reads a datagram. Records that are not of our service type are passed
// over; a response of ours tells of an instance whole or not at all.
func parse(data []byte) (message, error) {
	var p dnsmessage.Parser
	header, err := p.Start(data)
	if err != nil {
		return message{}, err
	}
	if header.Truncated {
		return message{}, errTruncated
	}
	questions, err := p.AllQuestions()
	if err != nil {
		return message{}, err
	}
	if !header.Response {
		return message{questions: questions}, nil
	}
	answers, err := p.AllAnswers()
	if err != nil {
		return message{}, err
	}
	return message{records: collect(answers)}, nil
}

// collect joins the records of each instance.
func collect(answers []dnsmessage.Resource) []found {
	instances := map[string]*found{}
	hosts := map[string][]netip.Addr{}
	targets := map[string]string{}
	var order []string
	for _, a := range answers {
		name := strings.ToLower(a.Header.Name.String())
		switch body := a.Body.(type) {
		case *dnsmessage.PTRResource:
			instance := strings.ToLower(body.PTR.String())
			label, ours := strings.CutSuffix(instance, "."+serviceType)
			if name != serviceType || !ours || instances[instance] != nil {
				continue
			}
			instances[instance] = &found{record: record{instance: label}, ttl: time.Duration(a.Header.TTL) * time.Second}
			order = append(order, instance)
		case *dnsmessage.AResource:
			hosts[name] = append(hosts[name], netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			hosts[name] = append(hosts[name], netip.AddrFrom16(body.AAAA).Unmap())
		}
	}
	for _, a := range answers {
		f := instances[strings.ToLower(a.Header.Name.String())]
		if f == nil {
			continue
		}
		switch body := a.Body.(type) {
		case *dnsmessage.SRVResource:
			f.port = body.Port
			targets[strings.ToLower(a.Header.Name.String())] = strings.ToLower(body.Target.String())
		case *dnsmessage.TXTResource:
			f.readTXT(body.TXT)
		}
	}
	var all []found
	for _, instance := range order {
		f := instances[instance]
		f.addrs = hosts[targets[instance]]
		if f.ttl == 0 || f.complete() {
			all = append(all, *f)
		}
	}
	return all
}

func (f *found) readTXT(txt []string) {
	for _, pair := range txt {
		key, value, _ := strings.Cut(pair, "=")
		switch strings.ToLower(key) {
		case txtName:
			f.service.Name = value
		case txtNamespace:
			f.service.Namespace = value
		case txtVersion:
			f.version = value
		case txtTrust:
			f.trust = value
		}
	}
}

func (f *found) complete() bool {
	_, err := discovery.ParseService(fmt.Sprintf("%s.%s", f.service.Name, f.service.Namespace), "")
	return err == nil && f.port != 0 && len(f.addrs) > 0
}
