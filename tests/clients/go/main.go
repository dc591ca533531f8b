// Microsoft's client for Go against the lab's site database: asks the queries of a JSON file,
// each with its parameters, and prints how many rows each gave.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	_ "github.com/microsoft/go-mssqldb"
)

type question struct {
	Query      string
	Parameters []any
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var questions []question
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&questions); err != nil {
		return err
	}
	database, err := sql.Open("sqlserver", address)
	if err != nil {
		return err
	}
	defer database.Close()
	for _, asked := range questions {
		for index, value := range asked.Parameters {
			if number, is := value.(json.Number); is {
				if asked.Parameters[index], err = number.Int64(); err != nil {
					return err
				}
			}
		}
		count, err := rows(database, asked)
		if err != nil {
			return fmt.Errorf("%s: %w", asked.Query, err)
		}
		fmt.Println(count)
	}
	return nil
}

func rows(database *sql.DB, asked question) (int, error) {
	found, err := database.QueryContext(context.Background(), asked.Query, asked.Parameters...)
	if err != nil {
		return 0, err
	}
	defer found.Close()
	columns, err := found.Columns()
	if err != nil {
		return 0, err
	}
	cells := make([]any, len(columns))
	for index := range cells {
		cells[index] = new(any)
	}
	count := 0
	for ; found.Next(); count++ {
		if err := found.Scan(cells...); err != nil {
			return 0, err
		}
	}
	return count, found.Err()
}
