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
	// unread. grpc-go's default is to estimate, by a ping with nearly every
	// message of a connection that is not busy, how much the network holds: two
	// frames, two system calls and two wake-ups more each way. With a fixed window there
	// are no pings: 15 to 20 % less CPU a call at one call at a time.
	//
	// It bounds a stream's throughput to itself in a round trip's time: 1 GB/s
	// at 1 ms, 20 MB/s at 50 ms. And it is what a handler that does not read can
	// make this process hold, for each stream: grpc-go's estimate begins with
	// 64 KiB and may go up to 16 MiB.
	streamWindow = 1 << 20

	// connectionWindow is the same for all streams of a connection together: 80
	// MB/s at 50 ms. It bounds what is under way and not what is unread: grpc-go
	// gives it back as soon as data has arrived.
	connectionWindow = 4 << 20

	// streamWorkers is how many goroutines wait for calls to run their
	// handlers. A goroutine made for a call grows its stack each time, which
	// takes 5 to 15 % of the call's CPU; calls that find all of these taken get one all the
	// same. They keep their stacks: 0.3 MiB together.
	streamWorkers = 32
)

// nativeTuning is for the gRPC server of our own clients' connections. The one
// behind net/http has net/http's windows, and runs handlers where it is called.
func nativeTuning() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.NumStreamWorkers(streamWorkers),
	}
}

// clientTuning is for connections to services.
func clientTuning() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connectionWindow),
	}
}
