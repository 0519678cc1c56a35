package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/xinhari/xinhari/pkg/discovery"
)

const defaultTimeout = 5 * time.Second

type streams struct {
	in       io.Reader
	out, err io.Writer
}

// options are the flags that all commands have.
type options struct {
	streams
	output    string
	namespace string
	timeout   time.Duration
}

// check returns what is wrong with the flags.
func (o *options) check() error {
	switch o.output {
	case "", "table", "json", "yaml":
	default:
		return usage("--output %q: want table, json or yaml", o.output)
	}
	if o.timeout <= 0 {
		return usage("--timeout %v: want a positive duration such as 5s", o.timeout)
	}
	if o.namespace != "" {
		if _, err := discovery.ParseService("any."+o.namespace, ""); err != nil {
			return usage("--namespace %q: want a DNS label: up to 63 of a-z, 0-9 and -", o.namespace)
		}
	}
	return nil
}

// print writes a value as JSON or YAML, or the table if that was asked for.
func (o *options) print(value any, header []string, rows [][]string) error {
	switch o.output {
	case "json":
		e := json.NewEncoder(o.out)
		e.SetIndent("", "  ")
		return e.Encode(value)
	case "yaml":
		data, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		_, err = o.out.Write(data)
		return err
	}
	w := tabwriter.NewWriter(o.out, 0, 0, 3, ' ', 0)
	for _, r := range append([][]string{header}, rows...) {
		if _, err := fmt.Fprintln(w, strings.Join(r, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}
