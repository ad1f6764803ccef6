package broker_test

const childEnv = "BROKER_TEST_CHILD"

func runChild(string) int { return 0 }
