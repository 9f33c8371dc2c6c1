module sanderling.example/softmax

go 1.24
