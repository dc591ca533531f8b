// Loads compose files as docker compose does: what it would refuse is refused here.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	for _, file := range os.Args[1:] {
		options, err := cli.NewProjectOptions([]string{file}, cli.WithProfiles([]string{"*"}), cli.WithInterpolation(true))
		if err != nil {
			fmt.Fprintln(os.Stderr, file, err)
			os.Exit(1)
		}
		project, err := options.LoadProject(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, file, err)
			os.Exit(1)
		}
		fmt.Println(file, project.ServiceNames())
	}
}
