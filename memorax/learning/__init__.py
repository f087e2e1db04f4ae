"""What algorithms share: returns, losses, gradients, epochs of minibatches, replayed updates, exploration."""
