// Command own is what bench measures: see packages role and own.
package main

import (
	"github.com/xinhari/xinhari/test/bench/internal/own"
	"github.com/xinhari/xinhari/test/bench/internal/role"
)

func main() { role.Main(own.Subject()) }
