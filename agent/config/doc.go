// Package config holds every setting of an agent: one struct, and one table with a row for each setting
// from which its flags, file keys, default, check, help and reference page come.
//
// To add a setting, add its field to Config (the json tag is its key) and its row to the table; a test
// holds the two together.
package config
