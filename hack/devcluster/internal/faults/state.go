package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
)

// state is what is in effect at a node. Its methods but follow are called with
// the set's lock.
type state struct {
	at   Member
	gone func(ctx context.Context, isGone func(netip.Addr) bool)

	netlink *netlink.Handle // nil before the first fault
	parted  bool
	rules   []rule
	queue   *queue

	unwatch  context.CancelFunc // nil while nobody watches
	watching sync.WaitGroup
}

// become makes a plan so. It does nothing for what is so already.
func (s *state) become(p plan) error {
	if len(p.rules) > 0 || len(s.rules) > 0 {
		if err := s.open(); err != nil {
			return err
		}
	}
	if !p.shapes.empty() && s.queue == nil {
		if err := s.openQueue(); err != nil {
			return err
		}
	}
	if s.queue != nil {
		s.queue.set(p.shapes)
	}
	if err := s.setRules(p.rules); err != nil {
		return err
	}
	if p.shapes.empty() && s.queue != nil {
		s.queue.close()
		s.queue = nil
	}
	if p.parted != s.parted {
		if err := s.at.Part(p.parted); err != nil {
			return err
		}
		s.parted = p.parted
	}
	return nil
}

// setRules adds rules before it removes others, so that what stays dropped
// does not get through in between.
func (s *state) setRules(want []rule) error {
	if len(want) > 0 && len(s.rules) == 0 {
		if err := s.localAt(priorityLocal, 0); err != nil {
			return err
		}
	}
	for _, r := range want {
		if slices.Contains(s.rules, r) {
			continue
		}
		if err := s.netlink.RuleAdd(r.kernel()); err != nil {
			return fmt.Errorf("add rule: %w", err)
		}
		s.rules = append(s.rules, r)
	}
	for i := len(s.rules) - 1; i >= 0; i-- {
		if slices.Contains(want, s.rules[i]) {
			continue
		}
		if err := s.netlink.RuleDel(s.rules[i].kernel()); err != nil {
			return fmt.Errorf("delete rule: %w", err)
		}
		s.rules = slices.Delete(s.rules, i, i+1)
		if len(s.rules) == 0 {
			return s.localAt(0, priorityLocal)
		}
	}
	return nil
}

// localAt moves the rule for local addresses, which is the first by default:
// pods and their own node are to be parted as well.
func (s *state) localAt(priority, before int) error {
	if err := s.netlink.RuleAdd(localRule(priority)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("move the local table: %w", err)
	}
	if err := s.netlink.RuleDel(localRule(before)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("move the local table: %w", err)
	}
	return nil
}

func localRule(priority int) *netlink.Rule {
	r := netlink.NewRule()
	r.Priority, r.Table = priority, unix.RT_TABLE_LOCAL
	return r
}

// kernel is the rule as netlink has it.
func (r rule) kernel() *netlink.Rule {
	k := netlink.NewRule()
	k.Priority, k.IifName, k.Type = r.priority, r.iif, r.action()
	if r.from.IsValid() {
		k.Src = ipNet(r.from)
	}
	if r.to.IsValid() {
		k.Dst = ipNet(r.to)
	}
	if r.tcpPort != 0 {
		k.IPProto, k.Dport = unix.IPPROTO_TCP, netlink.NewRulePortRange(r.tcpPort, r.tcpPort)
	}
	if r.table != 0 {
		k.Table = r.table
	}
	if r.skip {
		k.Goto = priorityLocal
	}
	return k
}

// open prepares the node for rules.
func (s *state) open() error {
	if s.netlink != nil {
		return nil
	}
	handle, err := netlink.NewHandleAt(netns.NsHandle(s.at.Namespace.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	// What is for somewhere else and leaves by lo comes in there and is
	// discarded, without a word to the sender.
	if err := s.routeAll(handle, "lo", tableNowhere); err != nil {
		handle.Close()
		return err
	}
	s.netlink = handle
	return nil
}

// routeAll sends everything that is looked up in the table to a device.
func (s *state) routeAll(handle *netlink.Handle, device string, table int) error {
	link, err := handle.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0)),
		Src:       s.at.Addr.AsSlice(),
		Scope:     netlink.SCOPE_LINK,
		Table:     table,
	}
	if err := handle.RouteReplace(route); err != nil {
		return fmt.Errorf("route to %s: %w", device, err)
	}
	return nil
}

func (s *state) openQueue() error {
	var q *queue
	err := s.at.Namespace.Do(func() (err error) {
		if q, err = openQueue(s.at); err != nil {
			return err
		}
		// What the node itself sent comes back with its own address.
		return os.WriteFile("/proc/sys/net/ipv4/conf/"+queueDevice+"/accept_local", []byte("1"), 0)
	})
	if err == nil {
		err = s.connectQueue()
	}
	if err != nil {
		if q != nil {
			q.close()
		}
		return err
	}
	s.queue = q
	return nil
}

func (s *state) connectQueue() error {
	link, err := s.netlink.LinkByName(queueDevice)
	if err != nil {
		return fmt.Errorf("find %s: %w", queueDevice, err)
	}
	if err := s.netlink.LinkSetTxQLen(link, deviceBuffer); err != nil {
		return fmt.Errorf("give %s a buffer: %w", queueDevice, err)
	}
	if err := s.netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", queueDevice, err)
	}
	return s.routeAll(s.netlink, queueDevice, tableQueue)
}

// hasPod reports whether the address is a pod's.
func (s *state) hasPod(addr netip.Addr) (bool, error) {
	if err := s.open(); err != nil {
		return false, err
	}
	_, err := s.netlink.LinkByName(network.PodLink(addr))
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return false, nil
	}
	return err == nil, err
}

// watch has the ends of pods noticed from here on.
func (s *state) watch() error {
	if s.unwatch != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	updates, err := s.subscribe(ctx)
	if err != nil {
		cancel()
		return err
	}
	s.unwatch = cancel
	s.watching.Go(func() { s.follow(ctx, updates) })
	return nil
}

func (s *state) subscribe(ctx context.Context) (<-chan netlink.LinkUpdate, error) {
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeAt(netns.NsHandle(s.at.Namespace.FD()), updates, ctx.Done()); err != nil {
		return nil, fmt.Errorf("watch the links of %s: %w", s.at.Name, err)
	}
	return updates, nil
}

// follow tells of pods whose cables are gone, until ctx ends.
func (s *state) follow(ctx context.Context, updates <-chan netlink.LinkUpdate) {
	for {
		for update := range updates {
			if update.Header.Type != unix.RTM_DELLINK {
				continue
			}
			if addr, ok := network.PodAddr(update.Attrs().Name); ok {
				s.gone(ctx, func(a netip.Addr) bool { return a == addr })
			}
		}
		if ctx.Err() != nil {
			return
		}
		// The kernel had more to tell than there was room for.
		var err error
		if updates, err = s.subscribe(ctx); err != nil {
			return
		}
		s.gone(ctx, func(a netip.Addr) bool {
			if !s.at.Pods.Contains(a) {
				return false
			}
			has, err := s.hasPod(a)
			return err == nil && !has
		})
	}
}

// close ends the watch, without waiting for that. No fault may be in effect.
func (s *state) close() {
	if s.unwatch != nil {
		s.unwatch()
	}
	if s.netlink != nil {
		s.netlink.Close()
		s.netlink = nil
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
