module test/guest

go 1.24
