package mesh

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// The interoperability cases of gRPC pass through one sidecar, and through both.
func TestGRPCInterop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	go server.Serve(l) // ends with the test
	t.Cleanup(server.Stop)
	m := start(t, l.Addr().String(), true)
	for name, at := range map[string]string{"outbound": m.outbound, "both": m.both} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			tc := testgrpc.NewTestServiceClient(conn)
			for what, do := range map[string]func(){
				"empty unary":             func() { interop.DoEmptyUnaryCall(ctx, tc) },
				"large unary":             func() { interop.DoLargeUnaryCall(ctx, tc) },
				"client streaming":        func() { interop.DoClientStreaming(ctx, tc) },
				"server streaming":        func() { interop.DoServerStreaming(ctx, tc) },
				"ping pong":               func() { interop.DoPingPong(ctx, tc) },
				"empty stream":            func() { interop.DoEmptyStream(ctx, tc) },
				"timeout on sleeping":     func() { interop.DoTimeoutOnSleepingServer(ctx, tc) },
				"cancel after begin":      func() { interop.DoCancelAfterBegin(ctx, tc) },
				"cancel after first":      func() { interop.DoCancelAfterFirstResponse(ctx, tc) },
				"custom metadata":         func() { interop.DoCustomMetadata(ctx, tc) },
				"status and message":      func() { interop.DoStatusCodeAndMessage(ctx, tc) },
				"special status message":  func() { interop.DoSpecialStatusMessage(ctx, tc) },
				"unimplemented method":    func() { interop.DoUnimplementedMethod(ctx, conn) },
				"unimplemented service":   func() { interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn)) },
				"soak of twenty in a row": func() { soak(ctx, t, tc) },
			} {
				t.Run(what, func(*testing.T) { do() })
			}
		})
	}
}

// soak makes calls with large messages one after the other.
func soak(ctx context.Context, t *testing.T, tc testgrpc.TestServiceClient) {
	for range 20 {
		interop.DoLargeUnaryCall(ctx, tc)
	}
}
