// Package child runs programs in processes of their own and asks them
// things: one JSON object a line, a question on the child's standard
// input and its answer on standard output. A child ends when its input does,
// and the kernel kills it when its parent is gone.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Process is a child. It is for one goroutine at a time.
type Process struct {
	name    string
	command *exec.Cmd
	input   io.WriteCloser
	output  *bufio.Scanner
}

type question struct {
	Ask  string          `json:"ask"`
	With json.RawMessage `json:"with,omitempty"`
}

type answer struct {
	Answer json.RawMessage `json:"answer,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// closeTimeout bounds how long a child may take to end by itself.
const closeTimeout = 10 * time.Second

// Start runs a program with the arguments. When ctx ends the child is killed.
// The caller closes it.
func Start(ctx context.Context, program string, args ...string) (*Process, error) {
	c := exec.CommandContext(ctx, program, args...)
	c.Stderr = os.Stderr
	// A group of its own: Ctrl-C is for the parent, which ends its children.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	input, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	output, err := c.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	return &Process{name: fmt.Sprint(filepath.Base(program), args), command: c, input: input, output: bufio.NewScanner(output)}, nil
}

// Ask asks the child and waits for its answer, which it puts into result
// unless that is nil. With is what the child needs to know, nil for nothing.
func (p *Process) Ask(what string, with, result any) error {
	if err := p.ask(what, with, result); err != nil {
		return fmt.Errorf("child %s: %s: %w", p.name, what, err)
	}
	return nil
}

func (p *Process) ask(what string, with, result any) error {
	q := question{Ask: what}
	var err error
	if q.With, err = json.Marshal(with); err != nil {
		return err
	}
	if err := json.NewEncoder(p.input).Encode(q); err != nil {
		return err
	}
	if !p.output.Scan() {
		return errors.Join(errors.New("it ended without an answer"), p.output.Err())
	}
	var a answer
	if err := json.Unmarshal(p.output.Bytes(), &a); err != nil {
		return err
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(a.Answer, result)
}

// Close ends the child, be it by force, and waits until it is gone.
func (p *Process) Close() error {
	_ = p.input.Close()
	force := time.AfterFunc(closeTimeout, func() { _ = p.command.Process.Kill() })
	defer force.Stop()
	if err := p.command.Wait(); err != nil {
		return fmt.Errorf("child %s: %w", p.name, err)
	}
	return nil
}

// Handler answers a question.
type Handler func(ctx context.Context, with json.RawMessage) (any, error)

// Handle returns a Handler that decodes what it is given.
func Handle[With, Result any](f func(context.Context, With) (Result, error)) Handler {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var with With
		if err := json.Unmarshal(raw, &with); err != nil {
			return nil, err
		}
		return f(ctx, with)
	}
}

// Serve answers the parent's questions, one after the other, until there are
// no more.
func Serve(ctx context.Context, in io.Reader, out io.Writer, handlers map[string]Handler) error {
	signal.Ignore(os.Interrupt) // the parent decides
	questions, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q question
		if err := questions.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("child: %w", err)
		}
		if err := answers.Encode(reply(ctx, handlers, q)); err != nil {
			return fmt.Errorf("child: %w", err)
		}
	}
}

func reply(ctx context.Context, handlers map[string]Handler, q question) answer {
	h, ok := handlers[q.Ask]
	if !ok {
		return answer{Error: fmt.Sprintf("nobody here knows %q", q.Ask)}
	}
	result, err := h(ctx, q.With)
	if err != nil {
		return answer{Error: err.Error()}
	}
	data, err := json.Marshal(result)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Answer: data}
}
