package rpc

import (
	"google.golang.org/grpc"
)

// What grpc-go is told where its own defaults cost calls between services of
// one cluster more than they give. docs/benchmarks.md has the measurements, and
// what else was tried. The users' own options come after these and override
// them.

const (
	// streamWindow is how much of a stream, in bytes, may be under way or
	// unread. grpc-go's default is to find out how much the network holds, by a
	// ping with nearly every message of a connection that is not busy: more
	// frames, system calls and wake-ups at both sides. With fixed windows there
	// are no pings, which saves 15 to 25 % of a call's CPU at one call at a time,
	// 12 allocations, and nothing at 64.
	//
	// It bounds a stream's throughput to itself in a round trip's time: 1 GB/s
	// at 1 ms, 20 MB/s at 50 ms. And it is what a handler that does not read can
	// make this process hold, for each stream: grpc-go's own begins with 64 KiB
	// and may go up to 16 MiB. For long fat links, or for many streams that are
	// read late, choose another by grpc.StaticStreamWindowSize, or
	// grpc-go's way by DynamicWindows.
	streamWindow = 1 << 20

	// connectionWindow is the same for all streams of a connection together: 80
	// MB/s at 50 ms. It bounds what is under way and not what is unread: grpc-go
	// gives it back as soon as data has arrived.
	connectionWindow = 4 << 20

	// streamWorkers is how many goroutines wait for calls to run their
	// handlers. A goroutine that is made for a call has its stack grown and
	// copied first, 5 % of the call's CPU; calls that find all of these taken get
	// one all the same. They keep their stacks, 0.3 MiB together. 8 are as good
	// at one call at a time and not at 64, 128 no better.
	streamWorkers = 32
)

// nativeTuning is for the gRPC server of our own clients' connections. The one
// behind net/http has net/http's windows, and runs handlers where it is called.
func nativeTuning(dynamicWindows bool) []grpc.ServerOption {
	o := []grpc.ServerOption{grpc.NumStreamWorkers(streamWorkers)}
	if !dynamicWindows {
		o = append(o, grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connectionWindow))
	}
	return o
}

// clientTuning is for connections to services.
func clientTuning(dynamicWindows bool) []grpc.DialOption {
	if dynamicWindows {
		return nil
	}
	return []grpc.DialOption{grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connectionWindow)}
}
