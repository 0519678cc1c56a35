module github.com/xinhari/xinhari

go 1.26.0
