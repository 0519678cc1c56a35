package faults

import (
	"container/heap"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// queueDevice is the name of the network device of a node whose packets are
// handled here.
const queueDevice = "xinhari-queue"

const (
	queuePackets = 1 << 14 // held at most; further ones are lost, as in a full router
	deviceBuffer = 4096    // packets that wait to be read
)

// ErrNoDevice says that packets cannot be slowed or lost on this machine.
var ErrNoDevice = errors.New("slow and lose need the device /dev/net/tun")

// queue holds packets for a while, or loses them. What is routed to its device
// comes out of that again.
type queue struct {
	file   *os.File
	at     Member
	random *rand.Rand // of read alone
	wake   chan struct{}
	done   chan struct{}
	group  sync.WaitGroup

	mu      sync.Mutex
	shapes  shapes
	packets packets
	last    map[netip.Addr]time.Time // when the last packet of a sender goes, so that they keep their order
	next    uint64
}

// openQueue makes the device, which is there until close. It must be called in
// the node's namespace.
func openQueue(at Member) (*queue, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w, which is not there: as root, `modprobe tun`; in a container, start that with --device /dev/net/tun", ErrNoDevice)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w, which this user may not open: as root, `chmod 666 /dev/net/tun`", ErrNoDevice)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNoDevice, err)
	}
	request, err := unix.NewIfreq(queueDevice)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make the device %s: %w", queueDevice, err)
	}
	q := &queue{
		file:   os.NewFile(uintptr(fd), queueDevice),
		at:     at,
		random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		last:   map[netip.Addr]time.Time{},
	}
	q.group.Go(q.read)
	q.group.Go(q.write)
	return q, nil
}

// close removes the device. What is held is lost.
func (q *queue) close() {
	close(q.done)
	q.file.Close()
	q.group.Wait()
}

func (q *queue) set(s shapes) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shapes = s
}

// read takes packets in until the device is gone.
func (q *queue) read() {
	buffer := make([]byte, 1<<16)
	for {
		n, err := q.file.Read(buffer)
		if err != nil {
			return
		}
		q.take(buffer[:n], time.Now())
	}
}

func (q *queue) take(data []byte, now time.Time) {
	if len(data) < 20 || data[0]>>4 != 4 {
		return // Nothing else is routed here.
	}
	from, to := netip.AddrFrom4([4]byte(data[12:16])), netip.AddrFrom4([4]byte(data[16:20]))
	q.mu.Lock()
	defer q.mu.Unlock()
	hold, lost := q.shapes.of(from, to, q.at.Pods, q.at.Addr, q.random)
	if lost || len(q.packets) >= queuePackets {
		return
	}
	due := now.Add(hold)
	if last := q.last[from]; last.After(due) {
		due = last
	}
	q.last[from] = due
	q.next++
	heap.Push(&q.packets, packet{due: due, number: q.next, data: append([]byte(nil), data...)})
	if q.packets[0].number == q.next {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// write sends packets on when they are due, until the device is gone.
func (q *queue) write() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		data, wait := q.due(time.Now())
		if data != nil {
			_, _ = q.file.Write(data) // lost when it fails, as packets are
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-q.wake:
		case <-q.done:
			return
		}
	}
}

// due takes the next packet out, or tells how long it has time.
func (q *queue) due(now time.Time) ([]byte, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.packets) == 0 {
		clear(q.last)
		return nil, time.Hour
	}
	if wait := q.packets[0].due.Sub(now); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&q.packets).(packet).data, 0
}

type packet struct {
	due    time.Time
	number uint64 // of those that are due at once, the first comes first
	data   []byte
}

// packets is a heap.
type packets []packet

func (p packets) Len() int { return len(p) }
func (p packets) Less(i, j int) bool {
	if !p[i].due.Equal(p[j].due) {
		return p[i].due.Before(p[j].due)
	}
	return p[i].number < p[j].number
}
func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *packets) Push(x any)   { *p = append(*p, x.(packet)) }
func (p *packets) Pop() any {
	last := (*p)[len(*p)-1]
	(*p)[len(*p)-1] = packet{}
	*p = (*p)[:len(*p)-1]
	return last
}
