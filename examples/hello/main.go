// Command hello is a service with one plain Go handler.
package main

import (
	"context"
	"log"

	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

type Request struct {
	Name string `json:"name"`
}
type Response struct {
	Message string `json:"message"`
}

func hello(_ context.Context, r *Request) (*Response, error) {
	return &Response{Message: "Hello " + r.Name}, nil
}

func main() {
	svc, err := xinhari.New("hello", xinhari.Options{})
	if err == nil {
		err = rpc.Handle(svc, "Greeter/Hello", hello)
	}
	if err == nil {
		err = svc.Run(context.Background())
	}
	if err != nil {
		log.Fatal(err)
	}
}
