//go:build tools

// Package tools pins the foreign programs the tests use, so that go.sum covers them. Nothing builds this file.
package tools

import (
	_ "github.com/globalsign/est/cmd/estclient"
	_ "github.com/zmap/zlint/v3/cmd/zlint"
)
