// A guest in Go by the oldest convention: one function that works in place on float32.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o softmax_go.wasm .
//
// In a pipeline:
//
//	[[stage]]
//	guest = "softmax_go.wasm"
//	call  = "processOutput"
//
//	[policy]
//	wasi = true # Go's runtime needs a clock and random numbers
package main

import (
	"math"
	"unsafe"
)

// processOutput turns length logits at data into probabilities and returns how many there are.
//
//go:wasmexport processOutput
func processOutput(data unsafe.Pointer, length int32) int32 {
	values := unsafe.Slice((*float32)(data), length)
	greatest := float32(math.Inf(-1))
	for _, value := range values {
		greatest = max(greatest, value)
	}
	var sum float64
	for i, value := range values {
		share := math.Exp(float64(value - greatest))
		values[i] = float32(share)
		sum += share
	}
	for i := range values {
		values[i] = float32(float64(values[i]) / sum)
	}
	return length
}

func main() {}
