#!/bin/sh
# The library can be loaded at any time: it has thread-local storage, but none that must be reserved at start: tls.sh LIBRARY
readelf -lW "$1" | grep -q '^ *TLS ' || { echo 'no thread-local storage at all: is this the library?'; exit 1; }
! readelf -dW "$1" | grep 'STATIC_TLS' && ! readelf -rW "$1" | grep 'TPOFF'
