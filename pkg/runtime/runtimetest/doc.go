// Package runtimetest runs Services in a test, in memory: no ports, no mDNS,
// no cluster. All between the handlers is real, mutual TLS and HTTP/2
// included; of the network there is nothing but what the test says.
//
// # A service and its callers
//
// Make a [Network], take the Services of it that the test is about, register
// with them and start them; what a program's main does with its Service is
// best a function that both call. The network ends with the test. Tests that
// have networks of their own may run in parallel. See the example of [New].
//
// # Faults
//
// [Network.Between], [Network.OneWay], [Network.Around] and
// [Network.Everywhere] say where, and [Link] what: Delay, Partition, Refuse,
// Break, Fail and, in the end, Heal. [Network.Kill] ends a Service without a
// goodbye. Faults are of bytes and connections, so that deadlines, retries,
// reconnection and balancing are as real as without them; only Fail is of calls.
// After faults a client tries again with growing pauses, the first of a second
// and the last of two minutes: a call that is to succeed again is best made
// again and again, or in fake time. See the example of [Network.Between].
//
// # Fake time
//
// In a bubble of testing/synctest all of a network lives in the bubble's time:
// sleeping for a day has certificates renewed and connections replaced, and
// takes a fraction of a second. Deadlines, delays, keepalives and pauses
// pass in no time; synctest.Wait returns when all that was sent has arrived and
// everybody has taken note of it. Make the network inside of the bubble and use
// what is made there inside only. Real I/O (a database, a port) does not belong
// there: time stands still while a goroutine waits for it. Nor does os/signal,
// which ends the process when it is used in a bubble first; Services of a
// network leave signals alone (Options.NoSignals). Every goroutine ends before
// the bubble does, a handler's too: one that sleeps on without a look at its
// context is reported as a deadlock. See the example of [Network].
package runtimetest
