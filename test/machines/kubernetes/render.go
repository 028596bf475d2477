// Renders a chart's templates as Helm does, with Go's own text/template: values as JSON on stdin, the templates as arguments.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"text/template"
)

// As sigs.k8s.io/yaml would say it, but for quotes.
func toYaml(value any) string {
	var lines []string
	add := func(prefix string, item any) {
		text := toYaml(item)
		switch item.(type) {
		case map[string]any, []any:
			if strings.HasPrefix(prefix, "- ") {
				lines = append(lines, prefix+strings.ReplaceAll(text, "\n", "\n  "))
				return
			}
			lines = append(lines, prefix+"\n  "+strings.ReplaceAll(text, "\n", "\n  "))
		default:
			lines = append(lines, prefix+" "+text)
		}
	}
	switch value := value.(type) {
	case map[string]any:
		if len(value) == 0 {
			return "{}"
		}
		var keys []string
		for key := range value {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			add(key+":", value[key])
		}
	case []any:
		if len(value) == 0 {
			return "[]"
		}
		for _, item := range value {
			add("- ", item)
		}
	default:
		text, _ := json.Marshal(value)
		return string(text)
	}
	return strings.Join(lines, "\n")
}

func nindent(columns int, text string) string {
	pad := "\n" + strings.Repeat(" ", columns)
	return pad + strings.ReplaceAll(text, "\n", pad)
}

func main() {
	var data any
	if err := json.NewDecoder(os.Stdin).Decode(&data); err != nil {
		panic(err)
	}
	for i, file := range os.Args[1:] {
		if i > 0 {
			fmt.Println("---")
		}
		text, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		functions := template.FuncMap{"toYaml": toYaml, "nindent": nindent}
		one := template.Must(template.New(file).Funcs(functions).Option("missingkey=error").Parse(string(text)))
		if err := one.Execute(os.Stdout, data); err != nil {
			panic(err)
		}
	}
}
