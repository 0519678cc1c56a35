package rpc

// TakeAndGive returns what counts a call, of at most n at once.
func TakeAndGive(n int) func() {
	l := newCallLimit(n)
	return func() {
		if l.take() {
			l.give()
		}
	}
}
