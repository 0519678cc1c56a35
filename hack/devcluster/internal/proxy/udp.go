package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// flowIdle is how long a client's datagrams go to the same backend after the last one in either direction.
const flowIdle = 30 * time.Second

// maxDatagram is the largest payload of UDP.
const maxDatagram = 65507

type udpForwarder struct {
	rotation
	out  *outlet
	conn *net.UDPConn

	mu    sync.Mutex
	flows map[netip.AddrPort]*net.UDPConn // by client
}

func listenUDP(out *outlet, addr netip.AddrPort, t target) (*udpForwarder, error) {
	var conn *net.UDPConn
	err := out.in.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	})
	if err != nil {
		return nil, err
	}
	f := &udpForwarder{out: out, conn: conn, flows: make(map[netip.AddrPort]*net.UDPConn)}
	f.update(t)
	return f, nil
}

func (f *udpForwarder) run(ctx, _ context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	stop := context.AfterFunc(ctx, func() { f.conn.Close() })
	defer stop()
	buffer := make([]byte, maxDatagram)
	for {
		n, client, err := f.conn.ReadFromUDPAddrPort(buffer)
		if ctx.Err() != nil {
			return
		}
		if err != nil { // an ICMP answer to an earlier datagram
			continue
		}
		flow, fresh := f.flow(client)
		if flow == nil {
			continue
		}
		if fresh {
			group.Go(func() { f.answer(ctx, client, flow) })
		}
		flow.SetReadDeadline(time.Now().Add(flowIdle))
		_, _ = flow.Write(buffer[:n]) // lost when it fails, as datagrams are
	}
}

// flow returns the connection to the backend of a client.
func (f *udpForwarder) flow(client netip.AddrPort) (flow *net.UDPConn, fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if flow, ok := f.flows[client]; ok {
		return flow, false
	}
	flow, err := f.out.dialUDP(client.Addr(), f.pick(client.Addr().Unmap(), time.Now()))
	if err != nil {
		return nil, false
	}
	f.flows[client] = flow
	return flow, true
}

// answer passes a backend's datagrams back until there were none for flowIdle,
// or ctx ends: without its ClusterIP's port no answer can be sent.
func (f *udpForwarder) answer(ctx context.Context, client netip.AddrPort, flow *net.UDPConn) {
	stop := context.AfterFunc(ctx, func() { flow.Close() })
	defer stop()
	defer func() {
		f.mu.Lock()
		delete(f.flows, client)
		f.mu.Unlock()
		flow.Close()
	}()
	buffer := make([]byte, maxDatagram)
	for {
		n, err := flow.Read(buffer)
		if err != nil {
			return
		}
		flow.SetReadDeadline(time.Now().Add(flowIdle))
		_, _ = f.conn.WriteToUDPAddrPort(buffer[:n], client)
	}
}
