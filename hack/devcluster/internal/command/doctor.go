package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/xinhari/xinhari/hack/devcluster/internal/doctor"
)

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine lacks for a cluster, and the mend",
		Long: `doctor tries all that a cluster needs of the kernel, changes nothing, and prints for
whatever is missing how to mend it. Its exit code is 0 when nothing is, and also where only
faults of some kinds cannot be made, which it remarks.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ill := false
			for _, f := range doctor.Check(os.DirFS("/"), os.Geteuid(), doctor.Try) {
				if f.Problem == "" {
					fmt.Fprintf(c.OutOrStdout(), "ok       %s\n", f.Subject)
					continue
				}
				verdict := "remark "
				if !f.Remark {
					ill, verdict = true, "missing"
				}
				fmt.Fprintf(c.OutOrStdout(), "%s  %s: %s\n         mend: %s\n", verdict, f.Subject, f.Problem, f.Mend)
			}
			if ill {
				return exitCode(1)
			}
			return nil
		},
	}
}
