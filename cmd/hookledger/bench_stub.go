package main

import "context"

func runBench(context.Context, []string, stdio) error { return nil }
