package mdnsdiscovery

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

// group is the IPv4 address of mDNS (RFC 6762 section 3).
func group() *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353} }

// maxDatagram is the largest mDNS message (RFC 6762 section 17).
const maxDatagram = 9000

// socket is a multicast socket on one interface. Every process of the machine
// may have one: the port is shared.
type socket struct {
	iface    *net.Interface
	loopback bool
	conn     *net.UDPConn
	packets  *ipv4.PacketConn
	once     sync.Once
	readers  sync.WaitGroup
}

func open(name string) (*socket, error) {
	iface, err := find(name)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenMulticastUDP("udp4", iface, group())
	if err != nil {
		return nil, fmt.Errorf("mDNS on interface %s: %w", iface.Name, err)
	}
	s := &socket{iface: iface, loopback: iface.Flags&net.FlagLoopback != 0, conn: conn, packets: ipv4.NewPacketConn(conn)}
	for _, set := range []func() error{
		func() error { return s.packets.SetMulticastInterface(iface) },
		func() error { return s.packets.SetMulticastLoopback(true) }, // to the other processes of this machine
		func() error { return s.packets.SetMulticastTTL(255) },       // RFC 6762 section 11
		func() error { return s.packets.SetControlMessage(ipv4.FlagInterface, true) },
	} {
		if err := set(); err != nil {
			s.close()
			return nil, fmt.Errorf("mDNS on interface %s: %w", iface.Name, err)
		}
	}
	return s, nil
}

func find(name string) (*net.Interface, error) {
	if name != "" {
		iface, err := net.InterfaceByName(name)
		if err != nil {
			return nil, fmt.Errorf("mDNS: interface %q: %w", name, err)
		}
		return iface, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("mDNS: %w", err)
	}
	for _, iface := range all {
		if iface.Flags&net.FlagLoopback != 0 && iface.Flags&net.FlagUp != 0 {
			return &iface, nil
		}
	}
	return nil, fmt.Errorf("mDNS: none of %d network interfaces is a loopback interface that is up", len(all))
}

func (s *socket) send(data []byte) error {
	_, err := s.conn.WriteToUDP(data, group())
	return err
}

// receive returns the messages that come in on the interface until ctx ends,
// then closes the channel.
func (s *socket) receive(ctx context.Context, logger *slog.Logger) <-chan message {
	messages := make(chan message)
	s.readers.Go(func() {
		defer close(messages)
		stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
		buf := make([]byte, maxDatagram)
		for {
			n, control, from, err := s.packets.ReadFrom(buf)
			if err != nil {
				return
			}
			// The kernel gives a socket what any interface of the machine
			// has joined the group for.
			if control != nil && control.IfIndex != s.iface.Index {
				continue
			}
			m, err := parse(buf[:n])
			if err != nil {
				logger.Debug("mDNS message", "from", from.String(), "error", err)
				continue
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	})
	return messages
}

// close closes the socket and waits for its reader, whose context must have
// ended.
func (s *socket) close() {
	s.once.Do(func() { _ = s.conn.Close() })
	s.readers.Wait()
}
