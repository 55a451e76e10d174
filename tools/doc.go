// Package tools pins the programs that check this project, as tool lines of a
// go.mod of their own: they need hundreds of modules that no user of the SDK
// should meet. Run them from the root:
//
//	GOWORK=off go tool -modfile=tools/go.mod golangci-lint run
package tools
