// Command bare is what bench measures: see packages role and bare.
package main

import (
	"github.com/xinhari/xinhari/test/bench/internal/bare"
	"github.com/xinhari/xinhari/test/bench/internal/role"
)

func main() { role.Main(bare.Subject()) }
